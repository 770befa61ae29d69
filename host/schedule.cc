#include "host/schedule.h"

#include <algorithm>
#include <limits>

namespace postbus {

SendTime WhenToSend(const EmailEvent& event, int64_t waited_until, int64_t now) {
  if (ExpiresInMs(event, now) <= 0) return SendTime::kNever;
  if (event.scheduled_at_unix_ms <= std::max(now, waited_until)) return SendTime::kNow;
  return ScheduleViolation(event, now) ? SendTime::kTooFarAhead : SendTime::kLater;
}

int64_t ExpiresInMs(const EmailEvent& event, int64_t now) {
  return event.expires_at_unix_ms == 0 ? std::numeric_limits<int64_t>::max() : event.expires_at_unix_ms - now;
}

int64_t DateOf(const EmailEvent& event, int64_t accepted_at) {
  const int64_t asked_for = event.timestamp_unix_ms != 0 ? event.timestamp_unix_ms : accepted_at;
  return std::max(asked_for, event.scheduled_at_unix_ms);
}

}  // namespace postbus
