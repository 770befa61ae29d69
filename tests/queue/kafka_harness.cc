// The conformance suite's harness for Kafka: topics and a group of its own on the real broker of the test run.
#include <filesystem>
#include <stdexcept>

#include "queue/kafka/kafka_dead_letters.h"
#include "queue/kafka/kafka_queue.h"
#include "tests/queue/kafka/test_cluster.h"
#include "tests/queue/queue_harness.h"

namespace postbus {
namespace {

constexpr int kPartitions = 3;

class KafkaHarness : public QueueHarness {
 public:
  explicit KafkaHarness(std::unique_ptr<kafka::TestDeployment> deployment) : deployment_(std::move(deployment)) {}

  Result<std::unique_ptr<Queue>> Open(Role role) override {
    QueueConfig config = deployment_->config();
    config.at_most_once = at_most_once;
    return kafka::OpenKafkaQueue(config, role, [](LogLevel, std::string_view) {});
  }

  void DeleteJournals() override { std::filesystem::remove_all(deployment_->config().state_dir + "/journal"); }

  std::vector<StoredDeadLetter> DeadLetters() override {
    std::vector<StoredDeadLetter> letters;
    for (const kafka::StoredRecord& record : deployment_->ReadAll(deployment_->topic("-dlq"))) {
      StoredDeadLetter& letter = letters.emplace_back();
      letter.id = record.key.value();
      letter.message = record.Header("__dlq.errors.message");
      letter.value = record.value;
      for (const auto& [name, value] : record.headers) {
        const Status status = DecodeHeader(name, value, letter.headers);
        if (!status.ok()) throw std::runtime_error(std::string(status.message()));
      }
    }
    return letters;
  }

  std::vector<StatusRecord> StatusRecords() override {
    std::vector<StatusRecord> records;
    for (const kafka::StoredRecord& record : deployment_->ReadAll(deployment_->topic("-status"))) {
      Result<StatusRecord> status = DecodeStatus(record.value);
      if (!status.ok()) throw std::runtime_error(std::string(status.status().message()));
      records.push_back(std::move(*status));
    }
    return records;
  }

  Result<std::unique_ptr<postbus::DeadLetters>> OpenDeadLetters() override {
    return kafka::OpenKafkaDeadLetters(deployment_->config().kafka, [](LogLevel, std::string_view) {});
  }

 private:
  const std::unique_ptr<kafka::TestDeployment> deployment_;
};

}  // namespace

std::unique_ptr<QueueHarness> NewQueueHarness(std::string& skip_reason) {
  auto deployment = kafka::TestDeployment::New(kPartitions, skip_reason);
  if (deployment == nullptr) return nullptr;
  return std::make_unique<KafkaHarness>(std::move(deployment));
}

}  // namespace postbus
