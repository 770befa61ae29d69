// queue/kafka/kafka_config.h - the properties of our librdkafka clients: those the guarantee stands on, then what the
// operator passes on. Pure functions.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "event/status.h"
#include "queue/kafka/rdkafka_handles.h"
#include "queue/queue.h"
#include "queue/queue_config.h"

namespace postbus::kafka {

using Properties = std::vector<std::pair<const char*, std::string>>;

inline constexpr int kSessionTimeoutMs = 10'000;

// The largest record we write: `message.max.bytes` of producers, `max.message.bytes` of the topics that hold events.
inline constexpr int kMaxRecordBytes = 2 * 1024 * 1024;

// Refuses, by name, what would break the guarantee; the sentence says why.
Status CheckPassedOn(const KafkaConfig& config);

// How far a consumer reads ahead, by partition: what it needs to be kept busy, and no more, since with a backlog all of
// it is in memory. A producer's batch is fetched as a whole, however large. bench/README.md has the numbers.
struct FetchSettings {
  int fetch_kib = 64;
  int queue_kib = 48;  // with more than that in its queue a partition is not fetched
  // A fetch that finds nothing is answered then. Until it is, no other partition of the broker is fetched: this is how
  // long an empty partition can hold up others whose queue is used up.
  int wait_ms = 10;
};
Properties ConsumerProperties(const std::string& group_id, const std::string& instance_id, FetchSettings fetch);

enum class ProducerKind {
  kPublish,  // answers within 120 s, so that whoever waits for a 202 learns that there is none
  kCopies,   // of turns: tries for ever, since the turn must not end without them
  kStatus,   // best effort, gathered for 50 ms
};
Properties ProducerProperties(ProducerKind kind);

// What every callback of a client finds as its opaque. Must outlive the client.
struct ClientContext {
  const QueueLog* log = nullptr;  // the client's own log lines
  void* owner = nullptr;          // of the other callbacks
};

// The configuration of a client: `ours`, then `config.librdkafka`. The value of a property is never in an error: it may
// be a password.
Result<ConfPtr> MakeConf(const KafkaConfig& config, const Properties& ours, ClientContext* context);

// The client itself; takes `conf`.
Result<rd_kafka_t*> NewClient(rd_kafka_type_t type, ConfPtr conf);

}  // namespace postbus::kafka
