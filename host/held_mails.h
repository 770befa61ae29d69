// host/held_mails.h - mails that wait for a slot of their recipient's domain, by domain and priority. Not thread-safe;
// one a lane.
#pragma once

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <limits>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "host/rate_limiter.h"
#include "host/ready_queue.h"

namespace postbus {

class HeldMails {
 public:
  static constexpr int64_t kNever = std::numeric_limits<int64_t>::max();

  size_t size() const { return size_; }
  size_t domains() const { return domains_.size(); }
  // When to call Release again; kNever where nothing is known of any domain.
  int64_t look_at_ms() const { return look_at_ms_; }

  // Where a mail of this domain has to wait: nothing, it waits here now; else when it should come again, since so many
  // wait already that it would be here for longer than `longest_ms`.
  int64_t Hold(std::string_view domain, const RateLimiter::DomainSlot& slot, uint32_t mail, Priority priority,
               int64_t longest_ms, int64_t now_ms);

  // Takes out, by priority, whom `take(domain)` gives a slot, and gives them to `use(mail)`.
  template <typename Take, typename Use>
  void Release(int64_t now_ms, Take take, Use use) {
    if (now_ms < look_at_ms_) return;
    look_at_ms_ = kNever;
    for (auto entry = domains_.begin(); entry != domains_.end();) {
      auto& [name, domain] = *entry;
      while (!domain.waiting.empty() && domain.free_at_ms <= now_ms) {
        const RateLimiter::DomainSlot slot = take(name);
        if (!slot.taken) {
          domain.free_at_ms = std::max(slot.free_at_ms, now_ms + 1);
          break;
        }
        --size_;
        released_.push_back(domain.waiting.Pop());
      }
      const bool over = domain.waiting.empty() && domain.come_again_ms <= static_cast<double>(now_ms);
      if (!over) {
        const bool waits = !domain.waiting.empty();
        look_at_ms_ = std::min(look_at_ms_, waits ? domain.free_at_ms : static_cast<int64_t>(domain.come_again_ms) + 1);
      }
      entry = over ? domains_.erase(entry) : std::next(entry);
    }
    // Not before the loop has ended: it may be held again, for its next recipient's domain.
    for (const uint32_t mail : std::exchange(released_, {})) use(mail);
  }

  // False: it is not in here.
  bool Erase(uint32_t mail, Priority priority);
  // Empties it.
  template <typename Visit>
  void Drain(Visit visit) {
    for (auto& [name, domain] : std::exchange(domains_, {})) domain.waiting.Drain(visit);
    size_ = 0;
    look_at_ms_ = kNever;
  }

 private:
  struct Domain {
    ReadyQueue waiting;
    int64_t free_at_ms = 0;
    double come_again_ms = 0;  // slot of the next one that does not wait here
  };

  std::map<std::string, Domain, std::less<>> domains_;
  std::vector<uint32_t> released_;
  size_t size_ = 0;
  int64_t look_at_ms_ = kNever;
};

}  // namespace postbus
