#include "host/held_mails.h"

#include <algorithm>

namespace postbus {

int64_t HeldMails::Hold(std::string_view domain, const RateLimiter::DomainSlot& slot, uint32_t mail, Priority priority,
                        int64_t longest_ms, int64_t now_ms) {
  Domain& state = domains_.try_emplace(std::string(domain)).first->second;
  const double interval_ms = 1000 / slot.per_second;
  // A high one goes before the others that wait.
  const size_t before = priority == Priority::kHigh ? state.waiting.size(Priority::kHigh) : state.waiting.size();
  const double turn_ms = static_cast<double>(slot.free_at_ms) + static_cast<double>(before) * interval_ms;
  if (turn_ms - static_cast<double>(now_ms) > static_cast<double>(longest_ms)) {
    state.come_again_ms = std::max(state.come_again_ms, turn_ms);
    const double come_again_ms = state.come_again_ms;
    state.come_again_ms += interval_ms;
    look_at_ms_ = std::min(look_at_ms_, static_cast<int64_t>(state.come_again_ms) + 1);  // to forget the domain
    return static_cast<int64_t>(come_again_ms);
  }
  state.waiting.Push(mail, priority);
  state.free_at_ms = slot.free_at_ms;
  look_at_ms_ = std::min(look_at_ms_, slot.free_at_ms);
  ++size_;
  return 0;
}

bool HeldMails::Erase(uint32_t mail, Priority priority) {
  for (auto& [name, domain] : domains_) {
    if (!domain.waiting.Erase(mail, priority)) continue;
    --size_;
    return true;
  }
  return false;
}

}  // namespace postbus
