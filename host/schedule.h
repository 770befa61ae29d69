// host/schedule.h - what scheduled_at and expires_at mean for an event whose turn has begun. Pure functions; times in
// unix ms, `now` of event/due_clock.h.
#pragma once

#include <cstdint>

#include "event/email_event.h"

namespace postbus {

enum class SendTime {
  kNow,
  kLater,        // at scheduled_at
  kNever,        // it has expired
  kTooFarAhead,  // ScheduleViolation() says so
};

// `waited_until`: the due time the event comes back from, 0 = none. The queue has judged it by its clock, and a host
// whose clock is behind must not send the event round and round.
SendTime WhenToSend(const EmailEvent& event, int64_t waited_until, int64_t now);

// INT64_MAX: never; 0 or less: it has.
int64_t ExpiresInMs(const EmailEvent& event, int64_t now);

// The Date of its mail, the same in every copy of it.
int64_t DateOf(const EmailEvent& event, int64_t accepted_at);

}  // namespace postbus
