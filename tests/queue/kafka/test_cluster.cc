#include "tests/queue/kafka/test_cluster.h"

#include <stdlib.h>
#include <string.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <random>
#include <sstream>
#include <stdexcept>

#include "event/clock.h"
#include "queue/kafka/rdkafka_handles.h"
#include "queue/kafka/topics.h"

namespace postbus::kafka {
namespace {

constexpr int kPatienceMs = 30'000;

void Check(bool ok, const std::string& what) {
  if (!ok) throw std::runtime_error(what);
}

void Check(rd_kafka_resp_err_t error, const std::string& what) {
  Check(error == RD_KAFKA_RESP_ERR_NO_ERROR, what + ": " + rd_kafka_err2str(error));
}

std::string RandomName() {
  std::random_device random;
  std::ostringstream name;
  name << "t" << std::hex << random() << random();
  return name.str();
}

StoredRecord Stored(const rd_kafka_message_t& message) {
  StoredRecord record;
  record.topic = rd_kafka_topic_name(message.rkt);
  record.partition = message.partition;
  record.offset = message.offset;
  rd_kafka_timestamp_type_t type{};
  record.timestamp_unix_ms = rd_kafka_message_timestamp(&message, &type);
  if (message.key != nullptr) record.key = std::string(static_cast<const char*>(message.key), message.key_len);
  record.value.assign(static_cast<const char*>(message.payload), message.len);
  rd_kafka_headers_t* headers = nullptr;
  if (rd_kafka_message_headers(&message, &headers) != RD_KAFKA_RESP_ERR_NO_ERROR) return record;
  const char* name = nullptr;
  const void* value = nullptr;
  size_t size = 0;
  for (size_t i = 0; rd_kafka_header_get_all(headers, i, &name, &value, &size) == RD_KAFKA_RESP_ERR_NO_ERROR; ++i) {
    record.headers.emplace_back(name, std::string(static_cast<const char*>(value), size));
  }
  return record;
}

}  // namespace

std::string StoredRecord::Header(std::string_view name) const {
  std::string found = "(none)";
  for (const auto& [each, text] : headers) {
    if (each != name) continue;
    Check(found == "(none)", "header " + std::string(name) + " twice");
    found = text;
  }
  return found;
}

std::unique_ptr<TestDeployment> TestDeployment::New(int partitions, std::string& skip_reason) {
  const char* path = getenv("POSTBUS_KAFKA_STATE");
  std::ifstream file(path != nullptr ? path : "");
  std::ostringstream text;
  text << file.rdbuf();
  // {"bootstrap": "127.0.0.1:PORT", ...}
  constexpr std::string_view kKey = "\"bootstrap\": \"";
  const std::string state = text.str();
  const size_t at = state.find(kKey);
  if (at == std::string::npos) {
    skip_reason = "no real Kafka here: POSTBUS_KAFKA_STATE names no state file of kafka_broker.py";
    return nullptr;
  }
  const size_t begin = at + kKey.size();
  auto deployment = std::make_unique<TestDeployment>(state.substr(begin, state.find('"', begin) - begin), partitions);
  deployment->MakeTopics();
  return deployment;
}

TestDeployment::TestDeployment(std::string brokers, int partitions) : partitions_(partitions) {
  const std::string prefix = RandomName();
  config_.type = QueueConfig::Type::kKafka;
  config_.kafka.brokers = std::move(brokers);
  config_.kafka.topic = prefix + "-queue";
  config_.kafka.group_id = prefix + "-group";
  std::string directory = std::filesystem::temp_directory_path() / "postbus-kafka-test-XXXXXX";
  Check(mkdtemp(directory.data()) != nullptr, "mkdtemp");
  config_.state_dir = directory;
}

TestDeployment::~TestDeployment() {
  std::filesystem::remove_all(config_.state_dir);
  if (made_topics_) DeleteTopics(config_.kafka);
}

// Other tests share the broker.
void TestDeployment::DeleteTopics(const KafkaConfig& config) const {
  const ClientPtr client(NewClient(RD_KAFKA_PRODUCER, {}));
  const QueuePtr answers(rd_kafka_queue_new(client.get()));
  std::vector<rd_kafka_DeleteTopic_t*> topics;
  for (const TopicSpec& topic : TopicTable(config)) topics.push_back(rd_kafka_DeleteTopic_new(topic.name.c_str()));
  rd_kafka_DeleteTopics(client.get(), topics.data(), topics.size(), nullptr, answers.get());
  rd_kafka_DeleteTopic_destroy_array(topics.data(), topics.size());
  const EventPtr answer(rd_kafka_queue_poll(answers.get(), kPatienceMs));
}

void TestDeployment::MakeTopics() {
  std::vector<TopicSpec> topics = TopicTable(config_.kafka);
  for (TopicSpec& topic : topics) topic.partitions = partitions_;
  std::vector<std::string> created;
  const Status made = CreateTopics(config_.kafka, topics, created);
  Check(made.ok(), std::string(made.message()));
  made_topics_ = true;
}

rd_kafka_t* TestDeployment::NewClient(rd_kafka_type_t type,
                                      const std::vector<std::pair<std::string, std::string>>& settings) const {
  rd_kafka_conf_t* conf = rd_kafka_conf_new();
  char text[512];
  std::vector<std::pair<std::string, std::string>> all = {{"bootstrap.servers", config_.kafka.brokers},
                                                          {"log_level", "0"}};
  all.insert(all.end(), settings.begin(), settings.end());
  for (const auto& [name, value] : all) {
    Check(rd_kafka_conf_set(conf, name.c_str(), value.c_str(), text, sizeof text) == RD_KAFKA_CONF_OK, text);
  }
  rd_kafka_t* client = rd_kafka_new(type, conf, text, sizeof text);
  Check(client != nullptr, text);
  return client;
}

std::vector<StoredRecord> TestDeployment::ReadAll(const std::string& topic) const {
  const ClientPtr client(NewClient(
      RD_KAFKA_CONSUMER, {{"group.id", "reader"}, {"enable.auto.commit", "false"}, {"enable.partition.eof", "true"}}));
  rd_kafka_poll_set_consumer(client.get());
  OffsetListPtr partitions(rd_kafka_topic_partition_list_new(partitions_));
  std::vector<int64_t> next(static_cast<size_t>(partitions_)), end(static_cast<size_t>(partitions_));
  for (int i = 0; i < partitions_; ++i) {
    int64_t low = 0;
    int64_t high = 0;
    Check(rd_kafka_query_watermark_offsets(client.get(), topic.c_str(), i, &low, &high, kPatienceMs), "watermarks");
    next[static_cast<size_t>(i)] = low;
    end[static_cast<size_t>(i)] = high;
    rd_kafka_topic_partition_list_add(partitions.get(), topic.c_str(), i)->offset = low;
  }
  std::vector<StoredRecord> records;
  if (next == end) return records;
  Check(rd_kafka_assign(client.get(), partitions.get()), "assign");
  // Records that come meanwhile are read, too: a partition may be beyond its end before another one is there.
  const auto is_left = [&] {
    for (size_t i = 0; i < next.size(); ++i) {
      if (next[i] < end[i]) return true;
    }
    return false;
  };
  while (is_left()) {
    const MessagePtr message(rd_kafka_consumer_poll(client.get(), kPatienceMs));
    Check(message != nullptr, "no record of " + topic);
    const auto partition = static_cast<size_t>(message->partition);
    if (message->err == RD_KAFKA_RESP_ERR__PARTITION_EOF) {
      next[partition] = end[partition];
      continue;
    }
    Check(message->err, topic);
    next[partition] = message->offset + 1;
    records.push_back(Stored(*message));
  }
  rd_kafka_consumer_close(client.get());
  std::sort(records.begin(), records.end(), [](const StoredRecord& a, const StoredRecord& b) {
    return std::pair(a.partition, a.offset) < std::pair(b.partition, b.offset);
  });
  return records;
}

void TestDeployment::Write(const std::string& topic, int32_t partition, std::optional<std::string> key,
                           std::optional<std::string> value, const HeaderList& headers,
                           int64_t timestamp_unix_ms) const {
  const ClientPtr client(
      NewClient(RD_KAFKA_PRODUCER, {{"partitioner", "murmur2_random"}, {"message.max.bytes", "3000000"}}));
  rd_kafka_headers_t* list = rd_kafka_headers_new(headers.size());
  for (const auto& [name, text] : headers) {
    rd_kafka_header_add(list, name.data(), static_cast<ssize_t>(name.size()), text.data(),
                        static_cast<ssize_t>(text.size()));
  }
  Check(rd_kafka_producev(client.get(), RD_KAFKA_V_TOPIC(topic.c_str()), RD_KAFKA_V_PARTITION(partition),
                          RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
                          RD_KAFKA_V_KEY((key ? key->data() : nullptr), (key ? key->size() : 0)),
                          RD_KAFKA_V_VALUE((value ? value->data() : nullptr), (value ? value->size() : 0)),
                          RD_KAFKA_V_TIMESTAMP(timestamp_unix_ms), RD_KAFKA_V_HEADERS(list), RD_KAFKA_V_END),
        "produce");
  Check(rd_kafka_flush(client.get(), kPatienceMs), "flush");
}

void TestDeployment::WriteMany(const std::string& topic,
                               const std::vector<std::pair<std::string, std::string>>& keys_and_values) const {
  const ClientPtr client(
      NewClient(RD_KAFKA_PRODUCER, {{"partitioner", "murmur2_random"}, {"queue.buffering.max.messages", "1000000"}}));
  for (const auto& [key, value] : keys_and_values) {
    Check(rd_kafka_producev(client.get(), RD_KAFKA_V_TOPIC(topic.c_str()), RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
                            RD_KAFKA_V_KEY(key.data(), key.size()),
                            RD_KAFKA_V_VALUE(const_cast<char*>(value.data()), value.size()), RD_KAFKA_V_END),
          "produce");
  }
  Check(rd_kafka_flush(client.get(), kPatienceMs), "flush");
}

std::pair<int64_t, std::string> TestDeployment::Committed(const std::string& group, const std::string& topic,
                                                          int32_t partition) const {
  const ClientPtr client(NewClient(RD_KAFKA_CONSUMER, {{"group.id", group}}));
  OffsetListPtr list(rd_kafka_topic_partition_list_new(1));
  rd_kafka_topic_partition_list_add(list.get(), topic.c_str(), partition);
  Check(rd_kafka_committed(client.get(), list.get(), kPatienceMs), "committed");
  const rd_kafka_topic_partition_t& entry = list->elems[0];
  return {entry.offset >= 0 ? entry.offset : -1,
          std::string(static_cast<const char*>(entry.metadata), entry.metadata_size)};
}

void TestDeployment::Commit(const std::string& group, const std::string& topic, int32_t partition, int64_t offset,
                            const std::string& metadata) const {
  const ClientPtr client(NewClient(RD_KAFKA_CONSUMER, {{"group.id", group}}));
  OffsetListPtr list(rd_kafka_topic_partition_list_new(1));
  rd_kafka_topic_partition_t* entry = rd_kafka_topic_partition_list_add(list.get(), topic.c_str(), partition);
  entry->offset = offset;
  if (!metadata.empty()) {
    entry->metadata = strdup(metadata.c_str());
    entry->metadata_size = metadata.size();
  }
  Check(rd_kafka_commit(client.get(), list.get(), 0), "commit");
}

void TestDeployment::SetTopic(const std::string& topic, const std::string& setting, const std::string& value) const {
  const ClientPtr client(NewClient(RD_KAFKA_PRODUCER, {}));
  AlterTopic(client.get(), topic, {{setting, value}});
  // A broker shows a change a moment before its log keeps to it, and applies one after another: once it shows the
  // next one, the log has this one.
  AlterTopic(client.get(), topic, {{setting, value}, {"flush.messages", "1000000"}});
}

// Replaces the topic's settings by these; returns when the broker shows the last one.
void TestDeployment::AlterTopic(rd_kafka_t* client, const std::string& topic,
                                const std::vector<std::pair<std::string, std::string>>& settings) const {
  const QueuePtr answers(rd_kafka_queue_new(client));
  rd_kafka_ConfigResource_t* resource = rd_kafka_ConfigResource_new(RD_KAFKA_RESOURCE_TOPIC, topic.c_str());
  for (const auto& [name, value] : settings) {
    rd_kafka_ConfigResource_set_config(resource, name.c_str(), value.c_str());
  }
  rd_kafka_AlterConfigs(client, &resource, 1, nullptr, answers.get());
  rd_kafka_ConfigResource_destroy(resource);
  const EventPtr answer(rd_kafka_queue_poll(answers.get(), kPatienceMs));
  Check(answer != nullptr, "no answer to AlterConfigs");
  Check(rd_kafka_event_error(answer.get()), "AlterConfigs");
  const int64_t deadline = BootTimeMs() + kPatienceMs;
  while (TopicSetting(client, topic, settings.back().first) != settings.back().second) {
    Check(BootTimeMs() < deadline, topic + " never shows " + settings.back().first);
  }
}

std::string TestDeployment::TopicSetting(rd_kafka_t* client, const std::string& topic, const std::string& name) const {
  const QueuePtr answers(rd_kafka_queue_new(client));
  rd_kafka_ConfigResource_t* resource = rd_kafka_ConfigResource_new(RD_KAFKA_RESOURCE_TOPIC, topic.c_str());
  rd_kafka_DescribeConfigs(client, &resource, 1, nullptr, answers.get());
  rd_kafka_ConfigResource_destroy(resource);
  const EventPtr answer(rd_kafka_queue_poll(answers.get(), kPatienceMs));
  Check(answer != nullptr, "no answer to DescribeConfigs");
  size_t count = 0;
  const auto* const* resources =
      rd_kafka_DescribeConfigs_result_resources(rd_kafka_event_DescribeConfigs_result(answer.get()), &count);
  Check(count == 1, "DescribeConfigs");
  const auto* const* entries = rd_kafka_ConfigResource_configs(resources[0], &count);
  for (size_t i = 0; i < count; ++i) {
    if (rd_kafka_ConfigEntry_name(entries[i]) != name) continue;
    const char* value = rd_kafka_ConfigEntry_value(entries[i]);
    return value != nullptr ? value : "";
  }
  return "";
}

void TestDeployment::DeleteRecordsBelow(const std::string& topic, int32_t partition, int64_t offset) const {
  const ClientPtr client(NewClient(RD_KAFKA_PRODUCER, {}));
  const QueuePtr answers(rd_kafka_queue_new(client.get()));
  OffsetListPtr list(rd_kafka_topic_partition_list_new(1));
  rd_kafka_topic_partition_list_add(list.get(), topic.c_str(), partition)->offset = offset;
  rd_kafka_DeleteRecords_t* request = rd_kafka_DeleteRecords_new(list.get());
  rd_kafka_DeleteRecords(client.get(), &request, 1, nullptr, answers.get());
  rd_kafka_DeleteRecords_destroy(request);
  const EventPtr answer(rd_kafka_queue_poll(answers.get(), kPatienceMs));
  Check(answer != nullptr, "no answer to DeleteRecords");
  Check(rd_kafka_event_error(answer.get()), "DeleteRecords");
}

}  // namespace postbus::kafka
