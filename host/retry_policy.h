// host/retry_policy.h - what follows from an attempt: a pure function of outcome, attempts and age.
#pragma once

#include <cstdint>
#include <limits>
#include <string_view>

#include "host/config.h"

namespace postbus {

// One recipient's outcome and what it came from.
struct AttemptFacts {
  int32_t outcome = 0;          // POSTBUS_ACCEPTED, ...
  uint64_t retry_after_ms = 0;  // what the next hop asked for; 0 = nothing
  int attempts_spent = 0;       // before this one
  int max_retries = 0;          // of this event, already within the limit
  int waits = 0;                // how often in a row it was put back in this turn without costing an attempt
  int64_t age_ms = 0;           // since it was accepted, or was to be sent first
  int64_t expires_in_ms = std::numeric_limits<int64_t>::max();
  bool cancelled = false;  // somebody took the mail back
  uint64_t spread = 0;     // any number of the mail's own: what share of the jitter it gets; 0 = none
};

struct Decision {
  enum class Action {
    kComplete,    // done
    kDefer,       // a copy comes again after delay_ms
    kWait,        // stays in memory, its turn open, for delay_ms
    kDeadLetter,  // `reason` says why
    kExpire,      // the next try would come too late
    kCancel,      // there is to be no next try
  };
  Action action = Action::kComplete;
  int64_t delay_ms = 0;
  bool costs_attempt = false;
  std::string_view reason;  // class of the copy: an outcome's name, "attempts_exhausted" or "max_age"; static storage

  friend bool operator==(const Decision&, const Decision&) = default;
};

// | outcome                        | decision                                                               |
// | ACCEPTED                       | complete                                                               |
// | TRANSIENT, IN_DOUBT            | defer by backoff[attempts] or what the server asked for; costs one     |
// | IN_DOUBT, if so configured     | dead-letter                                                            |
// | THROTTLED                      | wait (up to kLongestWaitMs, beyond that defer) as asked; costs none     |
// | NOT_SENT, PROVIDER_FAULT       | wait, 100 ms doubling to 5 s and 1 s doubling to 30 s; cost none        |
// | REJECTED_*, UNSUPPORTED        | dead-letter                                                            |
// Cancelled: cancel instead of defer or wait. Attempts used up or older than max_age: dead-letter instead of defer or
// wait; else expired by then: expire instead. To each deferral up to kMaxJitterMs are added, and never more than a
// tenth of it: as much as waits in memory, so that in Kafka it is no hop more.
Decision Decide(const RetryConfig& config, const AttemptFacts& facts);

// Longer than this nothing waits in memory.
inline constexpr int64_t kLongestWaitMs = 30'000;

inline constexpr int64_t kMaxJitterMs = 5'000;

// "accepted", "transient", ... for metrics, status records and the `postbus-class` header; "unknown" for no outcome.
std::string_view OutcomeName(int32_t outcome);

}  // namespace postbus
