// queue/status_history.h - what became of each email: the changes that were recorded, by email id. Beside the queue,
// not of it: for who asks, not for who works. SQLite: the status table of the queue's file. Kafka: a file in state_dir,
// made by following `<prefix>-status`, and what this process itself has got into the queue.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "event/status.h"
#include "queue/queue.h"
#include "queue/queue_config.h"
#include "queue/status_record.h"

namespace postbus {

// Thread-safe.
class StatusHistory {
 public:
  virtual ~StatusHistory() = default;

  // The changes of an email in the order they happened. kNotFound: none is known; kUnavailable: it cannot be told now.
  // Waits for nothing but a local file.
  virtual Result<std::vector<StatusRecord>> Find(std::string_view id) = 0;

  // Emails to this recipient (host/recipient_hash.h), the last first, `limit` at most; none is no error. kUnavailable
  // as above. SQLite: the last accepted first; Kafka: the last of which something was told.
  virtual Result<std::vector<std::string>> IdsTo(uint64_t recipient_hash, size_t limit) = 0;

  // This process has just got these events into the queue: Find knows them from now on.
  virtual void NoteQueued(std::span<const StatusRecord> records) = 0;
};

// `log` is called from a thread of the history.
Result<std::unique_ptr<StatusHistory>> OpenStatusHistory(const QueueConfig& config, QueueLog log);

}  // namespace postbus
