#include "host/lane.h"

#include <algorithm>
#include <utility>

#include "event/clock.h"

namespace postbus {

bool Lane::Takes(int64_t now_boot_ms) const {
  return breaker.Allows(now_boot_ms) && !owes_an_answer && (pause->until_unix_ms() == 0 || !pause->Holds(UnixTimeMs()));
}

bool Lane::IsBlocked(int64_t now_boot_ms) const {
  return full || !Takes(now_boot_ms) || (limiter->active() && limiter->FreeAtMs() > now_boot_ms);
}

void Lanes::Use(const Generation& next) {
  // Alone it may have the whole window, and what is too much for it stays in the queue.
  const size_t share = next.transports.size() == 1 ? window_ + 1 : std::max<size_t>(1, window_ * 3 / 4);
  std::vector<std::unique_ptr<Lane>> before = std::move(lanes_);
  lanes_.clear();
  for (const auto& lane : before) lane->DrainQueues([](uint32_t) {});
  for (size_t i = 0; i < next.transports.size(); ++i) {
    const TransportConfig& config = next.config.transports[i];
    TransportInstance* const instance = next.transports[i].get();
    const auto same = std::find_if(before.begin(), before.end(),
                                   [&](const auto& lane) { return lane != nullptr && lane->instance == instance; });
    if (same != before.end()) {
      (*same)->breaker.Configure(config.breaker);
      (*same)->share.Configure(share);
      lanes_.push_back(std::move(*same));
    } else {
      Lane& lane = *lanes_.emplace_back(std::make_unique<Lane>(config.breaker, share));
      lane.instance = instance;
      lane.transport = &instance->transport();
      lane.limiter = &instance->limiter();
      lane.pause = &pauses_.Of(lane.transport->name());
      lane.counters = metrics_.ForTransport(lane.transport->name());
    }
    lanes_.back()->limiter->Configure(config.rate_limit);
  }
  for (auto& lane : before) {
    if (lane != nullptr) retired_.push_back(std::move(lane));
  }
}

void Lanes::EndRetired() {
  std::erase_if(retired_, [](const auto& lane) {
    if (lane->with_transport > 0) return false;
    if (lane->breaker.state() != Breaker::State::kClosed) lane->counters.CountBreaker(false);
    return true;
  });
}

bool Lanes::AnyIsUndecided() const {
  return std::any_of(lanes_.begin(), lanes_.end(), [](const auto& lane) { return lane->share.IsUndecided(); });
}

size_t Lanes::ReadyAhead(int64_t now_boot_ms) const {
  size_t ready = 0;
  for (const auto& lane : lanes_) {
    if (lanes_.size() == 1 || !lane->IsBlocked(now_boot_ms)) ready += lane->ready.size();
  }
  return ready;
}

}  // namespace postbus
