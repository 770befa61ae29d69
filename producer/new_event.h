// producer/new_event.h - a checked mail as the queue takes it. Pure function; the views are those of `event`.
#pragma once

#include "event/email_event.h"
#include "postbus/sender.h"
#include "queue/queue.h"

namespace postbus {

inline NewEvent ToNewEvent(const Sender::Event& event) {
  Priority priority = Priority::kNormal;
  if (event.priority == kPriorityHigh) priority = Priority::kHigh;
  if (event.priority == kPriorityLow) priority = Priority::kLow;
  return {.id = event.id,
          .priority = priority,
          .accepted_at_unix_ms = event.accepted_at_unix_ms,
          .value = event.json,
          .traceparent = {}};
}

}  // namespace postbus
