// tests/queue/kafka/test_cluster.h - the real Kafka of a test run, a deployment of its own on it, and plain clients
// that see the records as any other program does. Keeps no thread and no connection between calls (a test may fork).
#pragma once

#include <librdkafka/rdkafka.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "queue/event_headers.h"
#include "queue/queue_config.h"

namespace postbus::kafka {

struct StoredRecord {
  std::string topic;
  int32_t partition = 0;
  int64_t offset = 0;
  int64_t timestamp_unix_ms = 0;
  std::optional<std::string> key;
  std::string value;
  HeaderList headers;

  std::string Header(std::string_view name) const;  // "(none)" where there is none
};

// Topics, group and state directory that nobody else uses, gone with the object.
class TestDeployment {
 public:
  // Null, with the reason in `skip_reason`, without a broker (POSTBUS_KAFKA_STATE names its state file).
  static std::unique_ptr<TestDeployment> New(int partitions, std::string& skip_reason);
  // On another cluster (a mock one), whose topics are there already.
  TestDeployment(std::string brokers, int partitions);
  ~TestDeployment();

  const QueueConfig& config() const { return config_; }
  std::string topic(std::string_view suffix) const { return config_.kafka.Prefix() + std::string(suffix); }
  void MakeTopics();
  void DeleteTopics(const KafkaConfig& config) const;

  // All records of a topic there are at the time of the call, in the order of partitions and offsets.
  std::vector<StoredRecord> ReadAll(const std::string& topic) const;

  // Writes as a foreign producer does. Partition -1: by the key.
  void Write(const std::string& topic, int32_t partition, std::optional<std::string> key,
             std::optional<std::string> value, const HeaderList& headers = {}, int64_t timestamp_unix_ms = 0) const;
  void WriteMany(const std::string& topic,
                 const std::vector<std::pair<std::string, std::string>>& keys_and_values) const;

  // What the group has committed: offset (-1: nothing) and metadata.
  std::pair<int64_t, std::string> Committed(const std::string& group, const std::string& topic,
                                            int32_t partition) const;
  void Commit(const std::string& group, const std::string& topic, int32_t partition, int64_t offset,
              const std::string& metadata) const;
  // Replaces the topic's settings by this one; returns when it holds.
  void SetTopic(const std::string& topic, const std::string& setting, const std::string& value) const;
  // Everything below is gone, as after retention.
  void DeleteRecordsBelow(const std::string& topic, int32_t partition, int64_t offset) const;

 private:
  rd_kafka_t* NewClient(rd_kafka_type_t type, const std::vector<std::pair<std::string, std::string>>& settings) const;
  void AlterTopic(rd_kafka_t* client, const std::string& topic,
                  const std::vector<std::pair<std::string, std::string>>& settings) const;
  std::string TopicSetting(rd_kafka_t* client, const std::string& topic, const std::string& name) const;

  QueueConfig config_;
  const int partitions_;
  bool made_topics_ = false;
};

}  // namespace postbus::kafka
