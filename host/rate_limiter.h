// host/rate_limiter.h - how fast one transport may be given mails: `transports.X.rate_limit`, this host's share of it,
// and less than that while the peer throttles. An attempt is one mail for the transport, and one for each domain among
// its recipients.
//
// Thread-safe; one a transport, shared by all shards. Where nothing is limited, active() is all that is ever asked.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <string_view>

#include "host/adaptive_rate.h"
#include "host/config.h"
#include "host/gcra.h"

namespace postbus {

// What is set for a domain; null: as many as there are.
const DomainRate* RateOf(const RateLimitConfig& config, std::string_view domain);

class RateLimiter {
 public:
  explicit RateLimiter(const RateLimitConfig& config = {}) { Configure(config); }

  // What holds from now on; called again with the same it does nothing.
  void Configure(const RateLimitConfig& config);

  // Whether mails must ask Take at present.
  bool active() const { return active_.load(std::memory_order_acquire); }
  // Of `wanted` mails so many may go now; their slots are taken.
  size_t Take(size_t wanted, int64_t now_ms);
  // So many of those just taken did not go.
  void GiveBack(size_t n);
  // When to ask again; in the past: now. A little after the next mail may go, where that costs nothing of the rate:
  // then several go at once, and nobody is woken for each. REQUIRES: active().
  int64_t FreeAtMs() const { return free_at_ms_.load(std::memory_order_acquire); }

  bool limits_domains() const { return limits_domains_.load(std::memory_order_acquire); }
  // What a domain's mails may ask for.
  struct DomainSlot {
    bool taken = true;       // a mail may go now
    int64_t free_at_ms = 0;  // when not: the time to ask again
    double per_second = 0;   // of this domain, on this host
  };
  DomainSlot TakeForDomain(std::string_view domain, int64_t now_ms);

  // What became of an attempt (postbus/abi/outcome.h), and what the peer asked for.
  void Note(int32_t outcome, uint64_t retry_after_ms, int64_t now_ms);
  // Now and then. `share`: of the group's work, the part that is this host's; above 0.
  void Refresh(double share, int64_t now_ms);
  // Mails a second that may go at present; 0 = as many as there are.
  double per_second() const { return per_second_.load(std::memory_order_relaxed); }

 private:
  struct Domain {
    Gcra gcra;
    double per_second = 0;
    int64_t used_ms = 0;
  };

  void SetRate(int64_t now_ms);
  void StoreFreeAt();
  void ForgetIdleDomains(int64_t now_ms);

  std::atomic<bool> active_{false};
  std::atomic<bool> limits_domains_{false};
  std::atomic<int64_t> free_at_ms_{0};
  std::atomic<double> per_second_{0};
  std::atomic<uint64_t> attempts_{0};  // that went well enough to say how fast the peer takes mails

  std::mutex mutex_;  // guards the rest
  RateLimitConfig config_;
  AdaptiveRate adaptive_{AdaptiveRate::kNoLimit};
  Gcra gcra_{1, 1};  // set when active
  double share_ = 1;
  uint64_t attempts_before_ = 0;  // at measured_ms_
  int64_t measured_ms_ = 0;
  double attempts_per_second_ = 0;
  std::map<std::string, Domain, std::less<>> domains_;
};

}  // namespace postbus
