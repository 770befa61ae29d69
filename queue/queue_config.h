// queue/queue_config.h - the `queue:` section of the configuration. Plain structs; defaults here are the defaults.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "event/status.h"

namespace postbus {

// The variable KAFKA_ENABLED: whether mails go through Kafka, whatever the configuration says.
enum class KafkaEnabled { kUnset, kFalse, kTrue };
Result<KafkaEnabled> ParseKafkaEnabled(std::string_view value);
std::string_view KafkaEnabledName(KafkaEnabled enabled);  // "unset", "false", "true"

struct KafkaConfig {
  std::string brokers = "localhost:9093";  // bootstrap.servers
  std::string topic = "email-queue";       // normal priority; -high and -low beside it
  std::string prefix;                      // of the other topics; empty = topic less a trailing "-queue"
  std::string group_id = "messaging-service-group";
  std::map<std::string, std::string> librdkafka;  // passed on; keys that would break the guarantee are refused by name
  std::string from;  // where to begin without a committed offset on a topic used before: earliest | latest | RFC 3339

  std::string Prefix() const;
};

struct SqliteConfig {
  std::string path = "postbus.db";
};

struct QueueConfig {
  enum class Type { kKafka, kSqlite };
  Type type = Type::kKafka;
  // kTrue has made `type` kKafka; with kFalse nothing is put into or read from Kafka: OpenQueue refuses that.
  KafkaEnabled kafka_enabled = KafkaEnabled::kUnset;
  KafkaConfig kafka;
  SqliteConfig sqlite;
  // The secret of the hashes by which status records know recipients (host/recipient_hash.h): the same for all who
  // share a queue. Empty: the hashes are of a key that anybody can make.
  std::string recipient_key;
  std::string state_dir = "var";  // group.instance.id under a lock (Kafka)
  size_t max_event_bytes = 900 * 1024;
  // `retry.in_doubt: dead_letter`: hosts claim a turn before they submit its mail (ShardQueue::Claim), and what the
  // queue itself copies goes no second time, either.
  bool at_most_once = false;
};

}  // namespace postbus
