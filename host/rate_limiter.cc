#include "host/rate_limiter.h"

#include <algorithm>
#include <vector>

#include "host/glob.h"
#include "postbus/abi/outcome.h"

namespace postbus {
namespace {

constexpr double kAnyRate = 1'000'000;  // of a bucket that is not asked
constexpr int64_t kMeasureMs = 1'000;
constexpr int64_t kLongestHoldMs = 60'000;  // whatever the peer asks for: it may have taken back its words by then
constexpr size_t kMostDomains = 10'000;
constexpr int64_t kIdleMs = 60'000;
// A shard looks again after some milliseconds; what fell due in between goes at once.
constexpr double kBetweenLooksSeconds = 0.02;
constexpr int64_t kGatherMs = 5;
// Of a burst that is not set.
constexpr double kBurstSeconds = 0.1;

double BurstFor(double burst, double share, double per_second) {
  if (burst == 0) return std::max(1.0, per_second * kBurstSeconds);
  return std::max({1.0, burst * share, per_second * kBetweenLooksSeconds});
}

}  // namespace

void RateLimiter::Configure(const RateLimitConfig& config) {
  const std::lock_guard lock(mutex_);
  if (config == config_) return;
  if (config.per_second != config_.per_second) adaptive_ = AdaptiveRate(config.per_second);
  if (config.per_domain != config_.per_domain) domains_.clear();
  config_ = config;
  limits_domains_.store(!config.per_domain.empty(), std::memory_order_release);
  SetRate(0);
}

size_t RateLimiter::Take(size_t wanted, int64_t now_ms) {
  const std::lock_guard lock(mutex_);
  if (!active()) return wanted;
  const size_t taken = gcra_.Take(wanted, now_ms);
  StoreFreeAt();
  return taken;
}

void RateLimiter::GiveBack(size_t n) {
  const std::lock_guard lock(mutex_);
  gcra_.GiveBack(n);
  StoreFreeAt();
}

const DomainRate* RateOf(const RateLimitConfig& config, std::string_view domain) {
  for (const DomainRate& rate : config.per_domain) {
    if (GlobMatches(rate.domain, domain, false)) return &rate;
  }
  return nullptr;
}

RateLimiter::DomainSlot RateLimiter::TakeForDomain(std::string_view domain, int64_t now_ms) {
  const std::lock_guard lock(mutex_);
  const DomainRate* rate = RateOf(config_, domain);
  if (rate == nullptr) return {};
  auto found = domains_.find(domain);
  if (found == domains_.end()) {
    if (domains_.size() >= kMostDomains) ForgetIdleDomains(now_ms);
    const double per_second = rate->per_second * share_;
    const Gcra gcra(per_second, BurstFor(rate->burst, share_, per_second));
    found = domains_.emplace(domain, Domain{gcra, per_second, 0}).first;
  }
  Domain& state = found->second;
  state.used_ms = now_ms;
  const bool taken = state.gcra.Take(1, now_ms) == 1;
  return {.taken = taken, .free_at_ms = state.gcra.FreeAtMs(), .per_second = state.per_second};
}

// Those that could send a whole burst again are as good as new.
void RateLimiter::ForgetIdleDomains(int64_t now_ms) {
  std::erase_if(domains_, [now_ms](const auto& entry) {
    const double idle_seconds = static_cast<double>(now_ms - entry.second.used_ms) / 1000;
    return now_ms - entry.second.used_ms > kIdleMs && idle_seconds * entry.second.per_second > 1;
  });
}

void RateLimiter::Note(int32_t outcome, uint64_t retry_after_ms, int64_t now_ms) {
  if (outcome != POSTBUS_THROTTLED) {
    attempts_.fetch_add(1, std::memory_order_relaxed);
    return;
  }
  const std::lock_guard lock(mutex_);
  const double before = adaptive_.At(now_ms);
  // The configured rate is the group's, and so is what AdaptiveRate makes of it; what was seen is this host's.
  const double seen = attempts_per_second_ / share_;
  adaptive_.OnThrottled(seen, now_ms);
  SetRate(now_ms);
  const auto hold_ms = static_cast<int64_t>(std::min<uint64_t>(retry_after_ms, kLongestHoldMs));
  if (adaptive_.At(now_ms) != before) gcra_.HoldUntil(now_ms + hold_ms);
  StoreFreeAt();
}

void RateLimiter::Refresh(double share, int64_t now_ms) {
  const std::lock_guard lock(mutex_);
  if (now_ms - measured_ms_ >= kMeasureMs) {
    const uint64_t attempts = attempts_.load(std::memory_order_relaxed);
    attempts_per_second_ =
        static_cast<double>(attempts - attempts_before_) * 1000 / static_cast<double>(now_ms - measured_ms_);
    attempts_before_ = attempts;
    measured_ms_ = now_ms;
  }
  if (share != share_) {
    share_ = share;
    for (auto& [name, domain] : domains_) {
      const DomainRate& rate = *RateOf(config_, name);
      domain.per_second = rate.per_second * share;
      domain.gcra.SetRate(domain.per_second, BurstFor(rate.burst, share, domain.per_second));
    }
  }
  SetRate(now_ms);
}

void RateLimiter::SetRate(int64_t now_ms) {
  const double per_second = adaptive_.At(now_ms) * share_;
  if (per_second > 0) {
    gcra_.SetRate(per_second, BurstFor(config_.burst, share_, per_second));
    if (!active()) gcra_.HoldUntil(now_ms);
  }
  per_second_.store(per_second, std::memory_order_relaxed);
  StoreFreeAt();
  active_.store(per_second > 0, std::memory_order_release);
}

void RateLimiter::StoreFreeAt() {
  free_at_ms_.store(gcra_.FreeAtMs() + std::min(kGatherMs, gcra_.slack_ms() / 2), std::memory_order_release);
}

}  // namespace postbus
