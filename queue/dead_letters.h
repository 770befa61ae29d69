// queue/dead_letters.h - the dead letters of a queue: read, put back into the queue, thrown away. Beside running hosts;
// of hosts and producers it needs none.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "event/email_event.h"
#include "event/status.h"
#include "queue/event_headers.h"
#include "queue/queue.h"
#include "queue/queue_config.h"
#include "queue/status_record.h"

namespace postbus {

struct DeadLetter {
  std::string place;  // its name among the dead letters: Kafka "partition/offset", SQLite the row's number
  std::string id;     // of the email; empty: a foreign record that tells none
  int64_t at_unix_ms = 0;
  std::string message;             // why, a sentence
  EventHeaders headers;            // attempt, recipients, class, replay, origin: as far as they could be read
  HeaderList record_headers;       // all, as they are stored
  std::optional<std::string> key;  // Kafka: the record's
  std::string pointer;  // Kafka: "topic/partition/offset" of the record with the value, where it was too large to copy
  std::string value;    // the event, as it was read last; empty with `pointer`
};

// One thread at a time. What was dead-lettered after it was opened is not seen.
class DeadLetters {
 public:
  virtual ~DeadLetters() = default;

  // Calls `each` for every letter that was neither replayed nor discarded; those of one email oldest first. Ends with
  // the first error that `each` returns. `each` may replay or discard the letter it is given.
  virtual Status ForEach(const std::function<Status(const DeadLetter&)>& each) = 0;

  // Puts the event back into the queue, for the recipients the letter is about, as if it had never been tried, and
  // takes the letter away. kNotFound: the letter is gone meanwhile, or the record a pointer names is; kInvalid: written
  // by a newer postbus.
  virtual Status Replay(const DeadLetter& letter) = 0;

  // Takes the letter away.
  virtual Status Discard(const DeadLetter& letter) = 0;
};

// Errors say what to do. The queue is made where there is none yet (SQLite).
Result<std::unique_ptr<DeadLetters>> OpenDeadLetters(const QueueConfig& config, QueueLog log);

// What a letter goes back as; its value stays as it is. For the backends.
struct ReplayedEvent {
  EventHeaders headers;
  Priority priority;
  StatusRecord queued;
};
Result<ReplayedEvent> Replayed(const DeadLetter& letter, std::string_view value);

}  // namespace postbus
