// Errors a real broker would have to be hurt for, injected through librdkafka's mock cluster. It is used for nothing
// else: its storage, its groups and its idempotence differ from Kafka's.
#include <librdkafka/rdkafka.h>
//
#include <librdkafka/rdkafka_mock.h>  // wants the other before it

#include "queue/kafka/rdkafka_handles.h"
#include "queue/kafka/topics.h"
#include "tests/queue/kafka/kafka_test.h"

namespace postbus::kafka {
namespace {

constexpr int16_t kProduceRequest = 0;
constexpr int16_t kOffsetCommitRequest = 8;

class MockClusterTest : public KafkaTest {
 protected:
  void SetUp() override {
    char text[256];
    rd_kafka_conf_t* conf = rd_kafka_conf_new();
    rd_kafka_conf_set(conf, "log_level", "0", text, sizeof text);
    client_.reset(rd_kafka_new(RD_KAFKA_PRODUCER, conf, text, sizeof text));
    cluster_.reset(rd_kafka_mock_cluster_new(client_.get(), 1));
    deployment_ = std::make_unique<TestDeployment>(rd_kafka_mock_cluster_bootstraps(cluster_.get()), 1);
    config_ = deployment_->config();
    for (const TopicSpec& topic : TopicTable(config_.kafka)) {
      rd_kafka_mock_topic_create(cluster_.get(), topic.name.c_str(), 1, 1);
    }
  }

  void Fail(int16_t request, rd_kafka_resp_err_t error, int times) {
    const std::vector<rd_kafka_resp_err_t> errors(static_cast<size_t>(times), error);
    rd_kafka_mock_push_request_errors_array(cluster_.get(), request, errors.size(), errors.data());
  }
  void FailNoMore(int16_t request) { rd_kafka_mock_clear_request_errors(cluster_.get(), request); }

  // A host whose two consumers have made their first commits, so that an error meets a later one.
  std::unique_ptr<TestHost> OpenSettledHost() {
    auto host = OpenHost();
    EXPECT_TRUE(WaitUntil([&] {
      return Committed().first >= 0 &&
             deployment_->Committed(config_.kafka.group_id + "-delay", deployment_->topic("-delay-1d"), 0).first >= 0;
    }));
    return host;
  }
  std::pair<int64_t, std::string> Committed() {
    return deployment_->Committed(config_.kafka.group_id, config_.kafka.topic, 0);
  }

  ClientPtr client_;
  std::unique_ptr<rd_kafka_mock_cluster_t, DestroyWith<rd_kafka_mock_cluster_destroy>> cluster_;
};

TEST_F(MockClusterTest, APublishThatKafkaRefusesIsUnavailable) {
  Result<std::unique_ptr<Queue>> queue = TryOpen(Role::kProducer);
  ASSERT_TRUE(queue.ok()) << queue.status().message();
  const NewEvent event = {
      .id = "id-1", .priority = Priority::kNormal, .accepted_at_unix_ms = 1, .value = "value", .traceparent = {}};
  const Status first = PublishAndWait(**queue, event);
  ASSERT_TRUE(first.ok()) << first.message();
  Fail(kProduceRequest, RD_KAFKA_RESP_ERR_POLICY_VIOLATION, 1);
  const Status refused = PublishAndWait(**queue, event);
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.kind(), ErrorKind::kUnavailable) << refused.message();
  EXPECT_EQ((*queue)->Stats().publish_failures, 1u);
  const Status again = PublishAndWait(**queue, event);
  EXPECT_TRUE(again.ok()) << again.message();
  EXPECT_TRUE((*queue)->Stop(BootTimeMs() + kPatienceMs));
}

TEST_F(MockClusterTest, ACopyThatKafkaRefusesIsWrittenOnceItDoesNot) {
  deployment_->Write(config_.kafka.topic, 0, "key", "value");
  auto host = OpenHost();
  QueuedEvent event;
  ASSERT_TRUE(host->Next(event));
  Fail(kProduceRequest, RD_KAFKA_RESP_ERR_POLICY_VIOLATION, 2);
  host->shard().Defer(event.turn, {.recipients = {0b1},
                                   .due_unix_ms = UnixTimeMs() + 600'000,
                                   .attempt = 1,
                                   .outcome_class = "transient",
                                   .value = "second"});
  host->Complete(event);
  EXPECT_TRUE(WaitUntil([&] { return alarms().find("a copy cannot be written") != std::string::npos; }));
  EXPECT_EQ(host->queue().Stats().completed, 0u) << "never without its copy";
  EXPECT_TRUE(WaitUntil([&] { return host->queue().Stats().completed == 1; }));
  EXPECT_TRUE(host->Stop());
  EXPECT_EQ(deployment_->ReadAll(deployment_->topic("-delay-10m")).size(), 1u);
}

TEST_F(MockClusterTest, ACommitThatFailsIsMadeAgain) {
  deployment_->Write(config_.kafka.topic, 0, "key", "value");
  auto host = OpenSettledHost();
  QueuedEvent event;
  ASSERT_TRUE(host->Next(event));
  Fail(kOffsetCommitRequest, RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED, 10'000);
  host->Complete(event);
  EXPECT_TRUE(WaitUntil([&] { return host->queue().Stats().commit_failures >= 3; }));
  EXPECT_LT(Committed().first, 1);
  FailNoMore(kOffsetCommitRequest);
  EXPECT_TRUE(WaitUntil([&] { return Committed().first == 1; }));
  EXPECT_TRUE(host->Stop());
}

TEST_F(MockClusterTest, AMapThatKafkaRefusesIsLeftOutWithAnAlarm) {
  for (int i = 0; i < 3; ++i) deployment_->Write(config_.kafka.topic, 0, "key", "value");
  auto host = OpenSettledHost();
  std::array<QueuedEvent, 3> turns;
  for (QueuedEvent& turn : turns) ASSERT_TRUE(host->Next(turn));
  Fail(kOffsetCommitRequest, RD_KAFKA_RESP_ERR_OFFSET_METADATA_TOO_LARGE, 1);
  host->Complete(turns[0]);
  host->Complete(turns[2]);
  EXPECT_TRUE(WaitUntil([&] { return Committed().first == 1; }));
  EXPECT_EQ(Committed().second, "");
  EXPECT_NE(alarms().find("offset.metadata.max.bytes"), std::string::npos) << alarms();
  host->Complete(turns[1]);
  EXPECT_TRUE(WaitUntil([&] { return Committed().first == 3; }));
  EXPECT_TRUE(host->Stop());
}

// The commit lease: a new owner would repeat what is not committed.
TEST_F(MockClusterTest, ThePermitLapsesWhileTooMuchIsUncommitted) {
  std::vector<std::pair<std::string, std::string>> events(1003, {"key", "value"});
  deployment_->WriteMany(config_.kafka.topic, events);
  auto host = OpenSettledHost();
  QueuedEvent event;
  ASSERT_TRUE(host->Next(event));
  EXPECT_TRUE(event.permit->Valid(BootTimeMs()));
  Fail(kOffsetCommitRequest, RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED, 10'000);
  host->Complete(event);
  for (int i = 1; i <= 1000; ++i) {
    ASSERT_TRUE(host->Next(event));
    host->Complete(event);
  }
  ASSERT_TRUE(host->Next(event));
  EXPECT_TRUE(WaitUntil([&] { return !event.permit->Valid(BootTimeMs()); }, 3'000)) << "at once, whatever it had left";
  FailNoMore(kOffsetCommitRequest);
  EXPECT_TRUE(WaitUntil([&] { return event.permit->Valid(BootTimeMs()); }));
  host->Complete(event);
  EXPECT_TRUE(host->Stop());
}

TEST_F(MockClusterTest, ThePermitLapsesWhileCommitsHaveNoAnswer) {
  deployment_->WriteMany(config_.kafka.topic, {{"key", "value"}, {"key", "value"}});
  auto host = OpenSettledHost();
  QueuedEvent event;
  ASSERT_TRUE(host->Next(event));
  Fail(kOffsetCommitRequest, RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED, 10'000);
  host->Complete(event);
  ASSERT_TRUE(host->Next(event));
  const int64_t begin = BootTimeMs();
  EXPECT_TRUE(WaitUntil([&] { return !event.permit->Valid(BootTimeMs()); }, 13'000)) << "10 s, not what was left then";
  EXPECT_GT(BootTimeMs() - begin, 9'000) << "a hiccup is no reason";
  EXPECT_FALSE(host->queue().Health().ok());
  FailNoMore(kOffsetCommitRequest);
  EXPECT_TRUE(WaitUntil([&] { return event.permit->Valid(BootTimeMs()); }));
  EXPECT_TRUE(host->queue().Health().ok());
  host->Complete(event);
  EXPECT_TRUE(host->Stop());
}

TEST_F(MockClusterTest, MissingTopicsThatCannotBeMadeNameTheCommand) {
  config_.kafka.topic += "-of-nobody";  // the mock cluster makes no topics
  const Result<std::unique_ptr<Queue>> queue = TryOpen();
  ASSERT_FALSE(queue.ok());
  EXPECT_EQ(queue.status().kind(), ErrorKind::kNotFound);
  EXPECT_NE(queue.status().message().find("`postbus topics create`"), std::string_view::npos)
      << queue.status().message();
  EXPECT_NE(queue.status().message().find(config_.kafka.topic + "-high"), std::string_view::npos);
}

}  // namespace
}  // namespace postbus::kafka
