#include "queue/kafka/record_producer.h"

#include <atomic>

#include "event/clock.h"
#include "tests/queue/kafka/kafka_test.h"

namespace postbus::kafka {
namespace {

class RecordProducerTest : public KafkaTest {
 protected:
  std::unique_ptr<RecordProducer> Open(ProducerKind kind) {
    Result<std::unique_ptr<RecordProducer>> producer =
        RecordProducer::Open(config_.kafka, kind, {topic_}, [](LogLevel, std::string_view) {});
    if (!producer.ok()) throw std::runtime_error(std::string(producer.status().message()));
    return std::move(*producer);
  }
  void SetUp() override {
    KafkaTest::SetUp();
    if (deployment_ != nullptr) topic_ = config_.kafka.topic;
  }
  Record RecordOf(const std::string& id) const {
    return {topic_, id, true, "value of " + id, {{"name", "header of " + id}}};
  }

  std::string topic_;
};

// librdkafka 2.0.2 ends an idempotent producer for good when its numbering seems broken (librdkafka#4438).
TEST_F(RecordProducerTest, AFatalErrorLosesNothingAndAnswersEachOnce) {
  constexpr int kRecords = 5000;
  auto producer = Open(ProducerKind::kCopies);
  std::vector<std::atomic<int>> answers(kRecords);
  for (int i = 0; i < kRecords; ++i) {
    if (i == 1000 || i == 3000) {
      rd_kafka_test_fatal_error(producer->client(), RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER, "test");
    }
    producer->ProduceDurably(RecordOf(std::to_string(i)), [&answers, i](const Status& status, const RecordBack&) {
      answers[static_cast<size_t>(i)] += status.ok() ? 1 : 1000;
      return RecordProducer::After::kDone;
    });
    // Let the second one meet the second client.
    if (i == 2000) WaitUntil([&] { return answers[1500] != 0; });
  }
  EXPECT_TRUE(producer->Flush(BootTimeMs() + kPatienceMs));
  for (size_t i = 0; i < kRecords; ++i) EXPECT_EQ(answers[i], 1) << i;
  std::set<std::string> stored;
  for (const StoredRecord& record : deployment_->ReadAll(topic_)) {
    stored.insert(*record.key);
    EXPECT_EQ(record.value, "value of " + *record.key);
    EXPECT_EQ(record.Header("name"), "header of " + *record.key);
  }
  EXPECT_EQ(stored.size(), static_cast<size_t>(kRecords));
  EXPECT_TRUE(producer->Health().ok());
}

TEST_F(RecordProducerTest, OnAgainTheSameRecordIsWrittenOnceMore) {
  auto producer = Open(ProducerKind::kCopies);
  std::atomic<int> calls{0};
  producer->ProduceDurably(RecordOf("id"), [&calls](const Status&, const RecordBack&) {
    return ++calls == 1 ? RecordProducer::After::kAgain : RecordProducer::After::kDone;
  });
  EXPECT_TRUE(producer->Flush(BootTimeMs() + kPatienceMs));
  EXPECT_EQ(calls, 2);
  const auto records = deployment_->ReadAll(topic_);
  ASSERT_EQ(records.size(), 2u);
  EXPECT_EQ(records[0].value, records[1].value);
  EXPECT_EQ(records[0].key, records[1].key);
  EXPECT_EQ(records[0].headers, records[1].headers);
}

TEST_F(RecordProducerTest, ARecordThatIsTooLargeIsInvalidAndGivenBack) {
  auto producer = Open(ProducerKind::kCopies);
  Record record = RecordOf("id");
  record.value.assign(3'000'000, 'x');
  const Status refused =
      producer->Produce(record, [](const Status&, const RecordBack&) { return RecordProducer::After::kDone; });
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.kind(), ErrorKind::kInvalid);

  std::atomic<int> state{0};
  producer->ProduceDurably(record, [&](const Status& status, const RecordBack& back) {
    const bool right = !status.ok() && status.kind() == ErrorKind::kInvalid && back().value == record.value;
    state = right ? 1 : 2;
    return RecordProducer::After::kDone;
  });
  EXPECT_TRUE(producer->Flush(BootTimeMs() + kPatienceMs));
  EXPECT_EQ(state, 1);
}

TEST_F(RecordProducerTest, StopAnswersWhatIsStillOnItsWay) {
  config_.kafka.brokers = "127.0.0.1:1";
  auto producer = Open(ProducerKind::kPublish);
  std::atomic<int> unavailable{0};
  for (int i = 0; i < 10; ++i) {
    EXPECT_TRUE(producer
                    ->Produce(RecordOf(std::to_string(i)),
                              [&](const Status& status, const RecordBack&) {
                                unavailable += !status.ok() && status.kind() == ErrorKind::kUnavailable;
                                return RecordProducer::After::kDone;
                              })
                    .ok());
  }
  EXPECT_FALSE(producer->Flush(BootTimeMs() + 50));
  EXPECT_TRUE(WaitUntil([&] { return !producer->Health().ok(); }));
  const int64_t begin = BootTimeMs();
  producer->Stop();
  EXPECT_LT(BootTimeMs() - begin, 5'000);
  EXPECT_EQ(unavailable, 10);
  EXPECT_FALSE(
      producer->Produce(RecordOf("late"), [](const Status&, const RecordBack&) { return RecordProducer::After::kDone; })
          .ok());
}

}  // namespace
}  // namespace postbus::kafka
