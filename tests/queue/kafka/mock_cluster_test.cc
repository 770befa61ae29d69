// Errors a real broker would have to be hurt for, injected through librdkafka's mock cluster. It is used for nothing
// else: its storage, its groups and its idempotence differ from Kafka's.
#include <librdkafka/rdkafka.h>
//
#include <librdkafka/rdkafka_mock.h>  // wants the other before it

#include "queue/kafka/rdkafka_handles.h"
#include "queue/kafka/record_producer.h"
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

// For at most once: what a fatal error finds on its way is not written by the next client, it is said to be uncertain.
TEST_F(MockClusterTest, OnceARecordThatMayBeStoredIsNotWrittenAgain) {
  const std::string& topic = config_.kafka.topic;
  auto opened = RecordProducer::Open(config_.kafka, ProducerKind::kCopies, {topic}, [](LogLevel, std::string_view) {});
  ASSERT_TRUE(opened.ok()) << opened.status().message();
  const std::unique_ptr<RecordProducer> producer = std::move(*opened);
  bool may_be_stored = false;
  for (int attempt = 0; attempt < 20 && !may_be_stored; ++attempt) {
    std::atomic<int> state{0};
    Fail(kProduceRequest, RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT, 10'000);
    producer->ProduceDurably(
        {topic, std::to_string(attempt), true, "value", {}},
        [&state](const Status& status, const RecordBack&) {
          state = status.ok() ? 1 : status.kind() == ErrorKind::kUncertain ? 2 : 3;
          return RecordProducer::After::kDone;
        },
        /*once=*/true);
    std::this_thread::sleep_for(std::chrono::milliseconds(100));  // until it was refused; where not, another attempt
    rd_kafka_test_fatal_error(producer->client(), RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER, "test");
    FailNoMore(kProduceRequest);
    ASSERT_TRUE(producer->Flush(BootTimeMs() + kPatienceMs));
    may_be_stored = state == 2;
    EXPECT_TRUE(state == 1 || state == 2) << state;
    const auto records = deployment_->ReadAll(topic);
    EXPECT_EQ(std::count_if(records.begin(), records.end(),
                            [&](const StoredRecord& each) { return each.key == std::to_string(attempt); }),
              may_be_stored ? 0 : 1);  // the mock does not store what it refuses
  }
  EXPECT_TRUE(may_be_stored);
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

TEST_F(MockClusterTest, NoClaimIsDurableAndNoCopyWrittenWhileKafkaTakesNoCommit) {
  config_.at_most_once = true;
  for (int i = 0; i < 2; ++i) deployment_->Write(config_.kafka.topic, 0, "key", "value");
  auto host = OpenSettledHost();
  std::array<QueuedEvent, 2> events;
  for (QueuedEvent& event : events) ASSERT_TRUE(host->Next(event));
  Fail(kOffsetCommitRequest, RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED, 10'000);
  host->shard().Claim(events[0].turn);
  host->shard().Defer(events[1].turn, {.recipients = {0b1},
                                       .due_unix_ms = UnixTimeMs() + 600'000,
                                       .attempt = 1,
                                       .outcome_class = "transient",
                                       .value = "second"});
  host->Complete(events[1]);
  EXPECT_TRUE(WaitUntil([&] { return host->queue().Stats().commit_failures >= 3; }));
  std::vector<TurnId> claimed;
  host->shard().TakeClaimed(claimed);
  EXPECT_EQ(claimed, std::vector<TurnId>());
  EXPECT_EQ(deployment_->ReadAll(deployment_->topic("-delay-10m")).size(), 0u);
  FailNoMore(kOffsetCommitRequest);
  EXPECT_TRUE(WaitUntil([&] {
    host->shard().TakeClaimed(claimed);
    return !claimed.empty();
  }));
  EXPECT_EQ(claimed, std::vector<TurnId>{events[0].turn});
  host->Complete(events[0]);
  EXPECT_TRUE(WaitUntil([&] { return host->queue().Stats().completed == 2; }));
  EXPECT_TRUE(host->Stop());
  EXPECT_EQ(deployment_->ReadAll(deployment_->topic("-delay-10m")).size(), 1u);
}

TEST_F(MockClusterTest, WithoutMapsNoClaimIsDurable) {
  config_.at_most_once = true;
  for (int i = 0; i < 2; ++i) deployment_->Write(config_.kafka.topic, 0, "key", "value");
  auto host = OpenSettledHost();
  std::array<QueuedEvent, 2> events;
  for (QueuedEvent& event : events) ASSERT_TRUE(host->Next(event));
  Fail(kOffsetCommitRequest, RD_KAFKA_RESP_ERR_OFFSET_METADATA_TOO_LARGE, 1);
  host->shard().Claim(events[1].turn);
  host->Complete(events[0]);
  EXPECT_TRUE(WaitUntil([&] { return Committed().first == 1; }));
  std::vector<TurnId> claimed;
  host->shard().TakeClaimed(claimed);
  EXPECT_EQ(claimed, std::vector<TurnId>());
  EXPECT_NE(alarms().find("offset.metadata.max.bytes"), std::string::npos) << alarms();
  host->shard().Abandon(events[1].turn);
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

// A partition of the cancellations that cannot be read: what is in it may be about any mail.
TEST_F(MockClusterTest, NothingBeginsBeforeTheCancellationsAreKnown) {
  const std::string cancellations = deployment_->topic("-cancellations");
  deployment_->Write(cancellations, 0, "key", "{}");
  deployment_->Write(config_.kafka.topic, 0, "key", "value");
  rd_kafka_mock_partition_set_leader(cluster_.get(), cancellations.c_str(), 0, -1);
  auto host = OpenHost();
  EXPECT_TRUE(WaitUntil([&] { return host->queue().Stats().waiting == 1; })) << "the events themselves are there";
  QueuedEvent event;
  EXPECT_FALSE(host->Next(event, 500));
  const Status health = host->queue().Health();
  ASSERT_FALSE(health.ok());
  EXPECT_NE(health.message().find(cancellations + " is not read to its end"), std::string_view::npos)
      << health.message();
  EXPECT_TRUE(WaitUntil([&] { return alarms().find(cancellations + " is not read to its end") != std::string::npos; }));
  EXPECT_FALSE(host->shard().Next(event));

  rd_kafka_mock_partition_set_leader(cluster_.get(), cancellations.c_str(), 0, 1);
  ASSERT_TRUE(host->Next(event));
  EXPECT_TRUE(host->queue().cancellations().Contains("key"));
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
