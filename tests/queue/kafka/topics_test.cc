#include "queue/kafka/topics.h"

#include "tests/queue/kafka/kafka_test.h"

namespace postbus::kafka {
namespace {

class TopicsTest : public KafkaTest {};

const TopicReport::Topic& Find(const TopicReport& report, const std::string& name) {
  for (const TopicReport::Topic& topic : report.topics) {
    if (topic.name == name) return topic;
  }
  throw std::runtime_error(name);
}

TEST_F(TopicsTest, CheckNamesWhatIsDifferentAndCreateLeavesIt) {
  deployment_->SetTopic(deployment_->topic("-dlq"), "retention.ms", "1000");
  Result<TopicReport> report = CheckTopics(config_.kafka);
  ASSERT_TRUE(WaitUntil([&] {  // a change of settings takes a moment to reach the broker
    report = CheckTopics(config_.kafka);
    return report.ok() && Find(*report, deployment_->topic("-dlq")).differences.size() > 1;
  }));
  EXPECT_FALSE(report->AsItShouldBe());
  const std::string partitions = "has 1 partitions, should have 24";
  EXPECT_EQ(Find(*report, config_.kafka.topic).differences, std::vector<std::string>{partitions});
  // Setting one thing of a topic resets the others.
  const std::vector<std::string> differences = {partitions, "has max.message.bytes=1048588, should have 2097152",
                                                "has retention.ms=1000, should have 2592000000"};
  std::vector<std::string> found = Find(*report, deployment_->topic("-dlq")).differences;
  std::sort(found.begin(), found.end());
  std::vector<std::string> expected = differences;
  std::sort(expected.begin(), expected.end());
  EXPECT_EQ(found, expected);
  ASSERT_EQ(report->warnings.size(), 1u) << "one broker";

  std::vector<std::string> created;
  EXPECT_TRUE(CreateTopics(config_.kafka, TopicTable(config_.kafka), created).ok());
  EXPECT_TRUE(created.empty());
  report = CheckTopics(config_.kafka);
  ASSERT_TRUE(report.ok());
  EXPECT_EQ(Find(*report, deployment_->topic("-dlq")).partitions, 1);
}

TEST_F(TopicsTest, CreateMakesThemAsTheyShouldBe) {
  KafkaConfig config = config_.kafka;
  config.prefix = config.Prefix() + "-second";
  config.topic = config.prefix + "-mail";
  Result<TopicReport> missing = CheckTopics(config);
  ASSERT_TRUE(missing.ok());
  for (const TopicReport::Topic& topic : missing->topics) {
    EXPECT_FALSE(topic.exists);
    EXPECT_EQ(topic.differences, std::vector<std::string>{"is missing: `postbus topics create` makes it"});
  }
  std::vector<std::string> created;
  const Status made = CreateTopics(config, TopicTable(config), created);
  ASSERT_TRUE(made.ok()) << made.message();
  EXPECT_EQ(created.size(), 13u);
  const Result<TopicReport> report = CheckTopics(config);
  ASSERT_TRUE(report.ok());
  for (const TopicReport::Topic& topic : report->topics) {
    EXPECT_EQ(topic.differences, std::vector<std::string>()) << topic.name;
    EXPECT_EQ(topic.partitions, 24);
  }
  EXPECT_TRUE(report->AsItShouldBe());
  deployment_->DeleteTopics(config);
}

TEST_F(TopicsTest, NobodyAnswers) {
  KafkaConfig config = config_.kafka;
  config.brokers = "127.0.0.1:1";
  const Result<TopicReport> report = CheckTopics(config);
  ASSERT_FALSE(report.ok());
  EXPECT_EQ(report.status().kind(), ErrorKind::kUnavailable);
  EXPECT_NE(report.status().message().find("127.0.0.1:1"), std::string_view::npos);
}

}  // namespace
}  // namespace postbus::kafka
