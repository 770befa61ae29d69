// A Producer on a real Kafka.
#include "postbus/producer.h"

#include <cstdlib>
#include <set>

#include "queue/kafka/topics.h"
#include "tests/queue/kafka/kafka_test.h"

namespace postbus::kafka {
namespace {

using namespace std::chrono_literals;

class ProducerTest : public KafkaTest {
 protected:
  void SetUp() override {
    KafkaTest::SetUp();
    unsetenv("KAFKA_ENABLED");
    setenv("KAFKA_BROKERS", config_.kafka.brokers.c_str(), 1);
    setenv("KAFKA_TOPIC", config_.kafka.topic.c_str(), 1);
  }
  std::unique_ptr<Producer> FromEnv() {
    auto producer = Producer::FromEnv();
    EXPECT_TRUE(producer.ok()) << producer.status().message();
    return producer.ok() ? std::move(*producer) : nullptr;
  }
};

TEST_F(ProducerTest, AMailIsInTheTopicOfItsPriorityWhenItsCallbackSaysSo) {
  auto producer = FromEnv();
  ASSERT_NE(producer, nullptr);
  EXPECT_TRUE(producer->Health().ok());
  const std::pair<std::string_view, std::string> topics[] = {{kPriorityHigh, config_.kafka.topic + "-high"},
                                                             {kPriorityNormal, config_.kafka.topic},
                                                             {kPriorityLow, config_.kafka.topic + "-low"}};
  for (const auto& [priority, topic] : topics) {
    auto kept = producer->SendEmail("a@b.example", "c@d.example", "s", "welcome", {{"Name", "Ada"}}, priority);
    ASSERT_EQ(kept.wait_for(60s), std::future_status::ready);
    const auto id = kept.get();
    ASSERT_TRUE(id.ok()) << id.status().message();
    const auto records = deployment_->ReadAll(topic);
    ASSERT_EQ(records.size(), 1u) << topic;
    EXPECT_EQ(records[0].key, *id);
    EXPECT_EQ(records[0].Header("postbus-id"), *id);
    EXPECT_EQ(records[0].Header("postbus-fmt"), "1");
    EXPECT_NE(records[0].value.find("\"id\":\"" + *id + "\""), std::string::npos);
  }
}

TEST_F(ProducerTest, FlushWaitsForAll) {
  auto producer = FromEnv();
  ASSERT_NE(producer, nullptr);
  std::set<std::string> sent;
  std::atomic<int> kept{0};
  for (int i = 0; i < 2000; ++i) {
    auto id = producer->SendEmail("a@b.example", "c@d.example", "s", "t", {}, kPriorityNormal,
                                  [&kept](const Status& status) { kept += status.ok() ? 1 : 10'000; });
    ASSERT_TRUE(id.ok()) << id.status().message();
    sent.insert(*id);
  }
  ASSERT_TRUE(producer->Flush(60s));
  EXPECT_EQ(kept, 2000);
  std::set<std::string> stored;
  for (const StoredRecord& record : deployment_->ReadAll(config_.kafka.topic)) {
    EXPECT_TRUE(stored.insert(*record.key).second) << "twice: " << *record.key;
  }
  EXPECT_EQ(stored, sent);
}

TEST_F(ProducerTest, MakesTheTopicsOfEventsAndNoOthers) {
  KafkaConfig fresh = config_.kafka;
  fresh.topic = "fresh-" + config_.kafka.topic;
  setenv("KAFKA_TOPIC", fresh.topic.c_str(), 1);
  auto producer = FromEnv();
  ASSERT_NE(producer, nullptr);
  auto report = CheckTopics(fresh);
  ASSERT_TRUE(report.ok());
  const TopicNames names(fresh);
  for (const TopicReport::Topic& topic : report->topics) {
    const bool of_events = std::count(names.events.begin(), names.events.end(), topic.name) > 0;
    EXPECT_EQ(topic.exists, of_events) << topic.name;
    EXPECT_EQ(topic.differences.empty(), of_events) << topic.name;
  }
  producer.reset();
  deployment_->DeleteTopics(fresh);
}

}  // namespace
}  // namespace postbus::kafka
