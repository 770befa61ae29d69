#include "queue/dead_letters.h"

#include "event/clock.h"

namespace postbus {

Result<ReplayedEvent> Replayed(const DeadLetter& letter, std::string_view value) {
  if (letter.headers.format > EventHeaders::kFormat) {
    return Status::Invalid("dead letter " + letter.place + " has format " + std::to_string(letter.headers.format) +
                           ": replay it with the newer postbus that wrote it");
  }
  ReplayedEvent replayed{.headers = letter.headers, .priority = Priority::kNormal, .queued = {}};
  EventHeaders& headers = replayed.headers;
  headers.attempt = 0;
  headers.due_unix_ms = 0;
  headers.accepted_at_unix_ms = UnixTimeMs();  // its age counts anew, else retry.max_age would be over already
  headers.outcome_class.clear();
  ++headers.replay;

  // What is no event goes back as well: it may have been a mistake of ours that it was refused.
  EventDecoder decoder(EventLimits{.max_bytes = value.size()});
  EmailEvent event;
  if (decoder.Decode(value, Strictness::kQueue, event)) replayed.priority = event.priority;

  replayed.queued.id = letter.id;
  replayed.queued.recipients = headers.recipients;
  replayed.queued.at_unix_ms = headers.accepted_at_unix_ms;
  replayed.queued.replay = headers.replay;
  return replayed;
}

}  // namespace postbus
