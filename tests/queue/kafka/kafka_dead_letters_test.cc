// Dead letters on a real Kafka, where they are not as on SQLite: markers, pointer records, foreign records.
#include "queue/kafka/kafka_dead_letters.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <stdexcept>

#include "tests/queue/kafka/test_cluster.h"

namespace postbus::kafka {
namespace {

class KafkaDeadLettersTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string reason;
    deployment_ = TestDeployment::New(3, reason);
    if (deployment_ == nullptr) GTEST_SKIP() << reason;
    deployment_->MakeTopics();
  }

  std::unique_ptr<DeadLetters> Open() {
    auto letters = OpenKafkaDeadLetters(deployment_->config().kafka, [](LogLevel, std::string_view) {});
    if (!letters.ok()) throw std::runtime_error(std::string(letters.status().message()));
    return std::move(*letters);
  }

  std::vector<DeadLetter> All(DeadLetters& letters) {
    std::vector<DeadLetter> all;
    const Status status = letters.ForEach([&](const DeadLetter& letter) {
      all.push_back(letter);
      return Status();
    });
    EXPECT_TRUE(status.ok()) << status.message();
    return all;
  }

  std::unique_ptr<TestDeployment> deployment_;
};

TEST_F(KafkaDeadLettersTest, AReplayIsTheEventWithoutItsErrorsAndAMarker) {
  deployment_->Write(deployment_->topic("-dlq"), 1, "key", "no json",
                     {{"postbus-fmt", "1"},
                      {"postbus-id", "id-1"},
                      {"postbus-attempt", "4"},
                      {"postbus-class", "transient"},
                      {"__dlq.errors.message", "why"}});
  auto letters = Open();
  const auto all = All(*letters);
  ASSERT_EQ(all.size(), 1U);
  EXPECT_EQ(all[0].place, "1/0");
  EXPECT_EQ(all[0].id, "id-1");
  const Status replayed = letters->Replay(all[0]);
  ASSERT_TRUE(replayed.ok()) << replayed.message();
  EXPECT_TRUE(All(*letters).empty());
  letters.reset();

  const auto events = deployment_->ReadAll(deployment_->config().kafka.topic);
  ASSERT_EQ(events.size(), 1U);
  EXPECT_EQ(events[0].key, "key");
  EXPECT_EQ(events[0].value, "no json");
  EXPECT_EQ(events[0].Header("postbus-id"), "id-1");
  EXPECT_EQ(events[0].Header("postbus-replay"), "1");
  for (const char* stripped : {"postbus-attempt", "postbus-class", "__dlq.errors.message"}) {
    EXPECT_EQ(events[0].Header(stripped), "(none)") << stripped;
  }
  const auto records = deployment_->ReadAll(deployment_->topic("-dlq"));
  ASSERT_EQ(records.size(), 2U);
  const StoredRecord& marker = records[0].Header("postbus-letter") != "(none)" ? records[0] : records[1];
  EXPECT_EQ(marker.key, "key");
  EXPECT_EQ(marker.value, "");
  EXPECT_EQ(marker.Header("postbus-letter"), "replayed 1/0");
  EXPECT_TRUE(All(*Open()).empty());
}

TEST_F(KafkaDeadLettersTest, APointerRecordIsReplayedFromItsSourceWhileThatIsThere) {
  const std::string topic = deployment_->config().kafka.topic;
  deployment_->Write(topic, 2, "a", "first");
  deployment_->Write(topic, 2, "b", "the event");
  const HeaderList headers = {{"postbus-fmt", "1"}, {"postbus-id", "b"}, {"postbus-pointer", topic + "/2/1"}};
  deployment_->Write(deployment_->topic("-dlq"), 0, "b", "", headers);
  deployment_->Write(deployment_->topic("-dlq"), 0, "b", "", headers);
  auto letters = Open();
  const auto all = All(*letters);
  ASSERT_EQ(all.size(), 2U);
  EXPECT_EQ(all[0].pointer, topic + "/2/1");
  const Status replayed = letters->Replay(all[0]);
  ASSERT_TRUE(replayed.ok()) << replayed.message();
  const auto count = [&] {
    const auto events = deployment_->ReadAll(topic);
    return std::count_if(events.begin(), events.end(), [](const auto& each) { return each.value == "the event"; });
  };
  EXPECT_EQ(count(), 2);

  deployment_->DeleteRecordsBelow(topic, 2, 2);
  const auto before = count();
  const Status gone = letters->Replay(all[1]);
  ASSERT_FALSE(gone.ok());
  EXPECT_EQ(gone.kind(), ErrorKind::kNotFound);
  EXPECT_NE(gone.message().find("is gone"), std::string_view::npos) << gone.message();
  EXPECT_EQ(count(), before);
  EXPECT_EQ(All(*letters).size(), 1U);
}

TEST_F(KafkaDeadLettersTest, ARecordWithoutKeyAndHeadersIsALetter) {
  deployment_->Write(deployment_->topic("-dlq"), 0, std::nullopt, "bytes");
  auto letters = Open();
  const auto all = All(*letters);
  ASSERT_EQ(all.size(), 1U);
  EXPECT_EQ(all[0].value, "bytes");
  ASSERT_TRUE(letters->Discard(all[0]).ok());
  EXPECT_TRUE(All(*letters).empty());
  EXPECT_TRUE(All(*Open()).empty());
}

TEST_F(KafkaDeadLettersTest, AMissingTopicIsNamed) {
  KafkaConfig config = deployment_->config().kafka;
  config.prefix = "never-made";
  const auto letters = OpenKafkaDeadLetters(config, [](LogLevel, std::string_view) {});
  ASSERT_FALSE(letters.ok());
  EXPECT_EQ(letters.status().message(), "the topic never-made-dlq is missing: `postbus topics create` makes it");
}

}  // namespace
}  // namespace postbus::kafka
