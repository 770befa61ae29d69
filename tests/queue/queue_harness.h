// tests/queue/queue_harness.h - what the conformance suite needs of a backend. conformance_test.cc is linked once with
// sqlite_harness.cc (queue_conformance_test) and once with kafka_harness.cc (queue_kafka_conformance_test).
//
// The suite simulates crashes with fork: a child opens the queue through the harness, works, and is killed by SIGKILL.
// So a harness starts no threads that outlive a call, holds no connection between calls, and opens the same queue (same
// namespace, group and state_dir) in parent and child. A child never runs destructors: it ends by SIGKILL or _exit.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "queue/dead_letters.h"
#include "queue/queue.h"

namespace postbus {

// A dead letter as it is stored: Kafka: a record of <prefix>-dlq; SQLite: a row of dead_letters.
struct StoredDeadLetter {
  std::string id;        // the record's key; SQLite: the id column
  EventHeaders headers;  // ours: attempt, rcpt, class, origin, ...
  std::string message;   // Kafka: __dlq.errors.message
  std::string value;
};

// One fresh, empty queue in a namespace of its own (temporary directory, topic prefix and group), gone with the
// harness.
class QueueHarness {
 public:
  virtual ~QueueHarness() = default;

  // Of the queues opened from now on: QueueConfig::at_most_once.
  bool at_most_once = false;

  // Opens the queue; one host and any number of producers may be open at once. Reopening after a kill uses this, too.
  virtual Result<std::unique_ptr<Queue>> Open(Role role) = 0;

  // All there are, in the order they were written. Called after Stop of the host; Kafka: from the beginning to the end
  // offsets (read after the call began) of all partitions. Order matters only among records of one id.
  virtual std::vector<StoredDeadLetter> DeadLetters() = 0;
  virtual std::vector<StatusRecord> StatusRecords() = 0;

  // As if the machine had lost them. REQUIRES: no host is open.
  virtual void DeleteJournals() = 0;

  // As `postbus dlq` opens them.
  virtual Result<std::unique_ptr<postbus::DeadLetters>> OpenDeadLetters() = 0;
};

// Null, with the reason in `skip_reason`, where this machine cannot run the backend (Kafka without
// POSTBUS_KAFKA_STATE).
std::unique_ptr<QueueHarness> NewQueueHarness(std::string& skip_reason);

}  // namespace postbus
