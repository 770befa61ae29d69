// host/claims.h - at most once: the turns of a shard that wait for their claim to become durable (ShardQueue::Claim),
// and how many may be claimed before a transport takes them. Not thread-safe.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <unordered_map>
#include <vector>

#include "queue/queue.h"

namespace postbus {

// How far a mail's turn is on its way to a transport.
enum class ClaimState : uint8_t { kNone, kAsked, kDurable };

class Claims {
 public:
  // Asks for the claim of a turn on behalf of a slot. REQUIRES: the turn does not wait.
  void Ask(ShardQueue& queue, TurnId turn, uint32_t slot) {
    waiting_.emplace(turn, slot);
    queue.Claim(turn);
  }
  // The slot hears nothing of this turn any more.
  void Forget(TurnId turn) { waiting_.erase(turn); }

  // Appends the slots whose claim has become durable; they wait no longer.
  void Take(ShardQueue& queue, std::vector<uint32_t>& slots) {
    durable_.clear();
    queue.TakeClaimed(durable_);
    for (const TurnId turn : durable_) {
      const auto waiting = waiting_.find(turn);
      if (waiting == waiting_.end()) continue;
      slots.push_back(waiting->second);
      waiting_.erase(waiting);
    }
  }

  // Appends the slots that wait.
  void AppendWaiting(std::vector<uint32_t>& slots) const {
    for (const auto& [turn, slot] : waiting_) slots.push_back(slot);
  }

  // Of one transport at once, what it has included: if the machine dies, as many end as dead letters that nobody may
  // have sent.
  static constexpr size_t kMost = 256;
  // More than that for high ones, which wait for no others.
  static constexpr size_t kMoreForHigh = 64;
  // Of them those that it does not have yet: enough to keep it busy while a commit is under way. One that is only
  // tried has one. `per_second`: what its rate limit lets through; 0 = no limit.
  static size_t MostAhead(bool is_tried, double per_second) {
    constexpr double kCommitSeconds = 0.2;
    if (is_tried) return 1;
    return per_second <= 0 ? kMost : static_cast<size_t>(std::clamp<double>(per_second * kCommitSeconds, 1, kMost));
  }

 private:
  std::unordered_map<TurnId, uint32_t> waiting_;  // to the slot
  std::vector<TurnId> durable_;
};

}  // namespace postbus
