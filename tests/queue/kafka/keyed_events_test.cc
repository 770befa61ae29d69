// Events with an Idempotency-Key on a real broker: of those with one id the first is sent, whoever takes them.
#include "queue/kafka/keyed_events.h"

#include <filesystem>

#include "queue/dead_letters.h"
#include "queue/kafka/kafka_dead_letters.h"
#include "tests/queue/kafka/kafka_test.h"

namespace postbus::kafka {
namespace {

constexpr const char* kKeyed = "74738ff5-5367-5958-9aee-98fffdcd1876";  // UUIDv5
constexpr const char* kOther = "cfbff0d1-9375-5685-968c-48ce8b15ae17";  // likewise
constexpr int64_t kDayMs = 86'400'000;

Source SourceOf(const std::string& id) {
  Source source{.topic = "t", .partition = 1, .offset = 7, .key = id, .has_key = true, .headers = {}, .others = {}};
  source.headers.id = id;
  source.headers.origin = {"t", 1, 7};
  return source;
}

TEST(KeyedEvent, IsOneThatWasPublishedWithAnIdMadeOfAName) {
  EXPECT_TRUE(IsKeyed(SourceOf(kKeyed)));
  for (const char* id : {"", "74738ff5-5367-7958-9aee-98fffdcd1876", "74738FF5-5367-5958-9AEE-98FFFDCD1876",
                         "74738ff5-5367-5958-9aee-98fffdcd187", "74738ff5.5367-5958-9aee-98fffdcd1876", "5"}) {
    EXPECT_FALSE(IsKeyed(SourceOf(id))) << id;
  }
  Source copy = SourceOf(kKeyed);
  copy.headers.origin = {"t", 1, 6};
  EXPECT_FALSE(IsKeyed(copy)) << "a deferred or scheduled copy";
  copy = SourceOf(kKeyed);
  copy.headers.attempt = 1;
  EXPECT_FALSE(IsKeyed(copy));
  copy = SourceOf(kKeyed);
  copy.headers.replay = 1;
  EXPECT_FALSE(IsKeyed(copy));
}

class KeyedEventsTest : public KafkaTest {
 protected:
  void SetUp() override {
    KafkaTest::SetUp();
    if (deployment_ != nullptr) deployment_->MakeTopics();
  }

  // As an API process that knows of no other does.
  void Publish(const std::string& id, const std::string& value = "value", int64_t accepted_at_unix_ms = UnixTimeMs()) {
    Result<std::unique_ptr<Queue>> api = TryOpen(Role::kProducer);
    ASSERT_TRUE(api.ok()) << api.status().message();
    const NewEvent event{.id = id,
                         .priority = Priority::kNormal,
                         .accepted_at_unix_ms = accepted_at_unix_ms,
                         .value = value,
                         .traceparent = {}};
    ASSERT_TRUE(PublishAndWait(**api, event).ok());
  }
  // The next host has never seen what the last one saw.
  void MoveToAnotherHost() { config_.state_dir += "/other"; }

  // Completes what comes, in that order, until `count` records are done: those that never came, too.
  std::vector<std::string> TakeAll(TestHost& host, size_t count) {
    std::vector<std::string> taken;
    QueuedEvent event;
    EXPECT_TRUE(WaitUntil([&] {
      while (host.Next(event, 20)) {
        taken.push_back(event.headers.id + " " + event.value);
        host.Complete(event);
      }
      return host.queue().Stats().completed >= count;
    })) << host.queue().Stats().completed;
    EXPECT_EQ(host.queue().Stats().completed, count);
    EXPECT_FALSE(host.Next(event, 100)) << event.headers.id;
    return taken;
  }
  using Ids = std::vector<std::string>;
};

TEST_F(KeyedEventsTest, AKeyThatTwoProcessesTakeIsSentOnce) {
  auto host = OpenHost();
  Publish(kKeyed, "first");
  Publish(kKeyed, "second");
  Publish(kOther);
  EXPECT_EQ(TakeAll(*host, 3), (Ids{kKeyed + std::string(" first"), kOther + std::string(" value")}));
  EXPECT_TRUE(host->Stop());
  EXPECT_EQ(deployment_->Committed(config_.kafka.group_id, config_.kafka.topic, 0).first, 3);
}

TEST_F(KeyedEventsTest, IdsOfNoKeyAreNotJudged) {
  auto host = OpenHost();
  for (int i = 0; i < 2; ++i) Publish("0192d3a4-7c5e-7b1a-9f00-1234567890ab");
  deployment_->Write(config_.kafka.topic, 0, kKeyed, "theirs");
  deployment_->Write(config_.kafka.topic, 0, kKeyed, "theirs");  // no postbus-id: whose id it is only the value knows
  EXPECT_EQ(TakeAll(*host, 4).size(), 4u);
}

TEST_F(KeyedEventsTest, ARestartKnowsWhatWasBefore) {
  {
    auto host = OpenHost();
    Publish(kKeyed, "first");
    EXPECT_EQ(TakeAll(*host, 1).size(), 1u);
    EXPECT_TRUE(host->Stop());
  }
  Publish("between");
  Publish(kKeyed, "second");
  auto host = OpenHost();
  EXPECT_EQ(TakeAll(*host, 2), Ids{"between value"});
}

TEST_F(KeyedEventsTest, AnotherHostKnowsWhatWasBefore) {
  {
    auto host = OpenHost();
    Publish("before");
    Publish(kKeyed, "first");
    EXPECT_EQ(TakeAll(*host, 2).size(), 2u);
    EXPECT_TRUE(host->Stop());
  }
  Publish(kKeyed, "second");
  Publish(kOther, "first");
  Publish(kKeyed, "third");
  Publish(kOther, "second");
  Publish("no-key");
  MoveToAnotherHost();
  {
    auto host = OpenHost();
    const Ids expected = {"no-key value", kOther + std::string(" first")};
    EXPECT_EQ(TakeAll(*host, 5), expected) << "what has no key does not wait for the others";
    EXPECT_TRUE(host->Stop());
  }
  // And has it in its file now.
  Publish(kKeyed, "fourth");
  auto host = OpenHost();
  EXPECT_EQ(TakeAll(*host, 1), Ids{});
}

TEST_F(KeyedEventsTest, WhatWasDoneOutOfOrderIsKnownToAnotherHost) {
  Publish("stays");
  Publish(kKeyed, "first");
  {
    auto host = OpenHost();
    QueuedEvent stays;
    QueuedEvent event;
    ASSERT_TRUE(host->Next(stays));
    ASSERT_TRUE(host->Next(event));
    EXPECT_EQ(event.headers.id, kKeyed);
    host->Complete(event);
    host->queue().StopConsuming();
    host->shard().Abandon(stays.turn);
    EXPECT_TRUE(host->Stop());
  }
  ASSERT_EQ(deployment_->Committed(config_.kafka.group_id, config_.kafka.topic, 0).first, 0);
  Publish(kKeyed, "second");
  MoveToAnotherHost();
  auto host = OpenHost();
  EXPECT_EQ(TakeAll(*host, 2), Ids{"stays value"});
}

TEST_F(KeyedEventsTest, OneThatWasNotDoneComesAgain) {
  Publish(kKeyed, "first");
  Publish(kKeyed, "second");
  for (int start = 0; start < 3; ++start) {
    auto host = OpenHost();
    QueuedEvent event;
    ASSERT_TRUE(host->Next(event));
    EXPECT_EQ(event.value, "first");
    host->queue().StopConsuming();
    host->shard().Abandon(event.turn);
    EXPECT_TRUE(host->Stop());
    if (start == 1) MoveToAnotherHost();
  }
}

TEST_F(KeyedEventsTest, ARetryAScheduledAndAReplayedOneAreNeverDropped) {
  Publish(kKeyed, "first");
  auto host = OpenHost();
  QueuedEvent event;
  for (const int attempt : {0, 1, 2}) {  // 0: it was scheduled
    ASSERT_TRUE(host->Next(event));
    host->shard().Defer(event.turn, {.recipients = RecipientSet::All(1),
                                     .due_unix_ms = UnixTimeMs(),
                                     .attempt = attempt,
                                     .outcome_class = "transient",
                                     .value = "copy " + std::to_string(attempt)});
    host->Complete(event);
  }
  ASSERT_TRUE(host->Next(event));
  EXPECT_EQ(event.value, "copy 2");
  host->shard().DeadLetter(event.turn, {.recipients = RecipientSet::All(1),
                                        .attempt = 3,
                                        .outcome_class = "attempts_exhausted",
                                        .message = "no",
                                        .id = kKeyed,
                                        .value = event.value});
  host->Complete(event);
  EXPECT_TRUE(WaitUntil([&] { return host->queue().Stats().dead_lettered == 1; }));
  for (const int replay : {1, 2}) {
    Result<std::unique_ptr<DeadLetters>> letters =
        OpenKafkaDeadLetters(config_.kafka, [](LogLevel, std::string_view) {});
    ASSERT_TRUE(letters.ok()) << letters.status().message();
    ASSERT_TRUE((*letters)->ForEach([&](const DeadLetter& letter) { return (*letters)->Replay(letter); }).ok());
    ASSERT_TRUE(host->Next(event));
    EXPECT_EQ(event.headers.replay, replay);
    host->shard().DeadLetter(event.turn, {.recipients = RecipientSet::All(1),
                                          .attempt = 1,
                                          .outcome_class = "rejected_message",
                                          .message = "no",
                                          .id = kKeyed,
                                          .value = event.value});
    host->Complete(event);
    EXPECT_TRUE(WaitUntil([&] { return host->queue().Stats().dead_lettered == 1u + static_cast<size_t>(replay); }));
  }
}

TEST_F(KeyedEventsTest, AfterADayAKeyIsAnotherOne) {
  const int64_t now = UnixTimeMs();
  Publish(kKeyed, "first", now - kDayMs);
  Publish(kKeyed, "second", now);
  Publish(kKeyed, "third", now + kDayMs - 1);
  auto host = OpenHost();
  EXPECT_EQ(TakeAll(*host, 3), (Ids{kKeyed + std::string(" first"), kKeyed + std::string(" second")}));
}

TEST_F(KeyedEventsTest, WithoutItsFileTheHostSendsAndSaysSo) {
  std::filesystem::create_directories(config_.state_dir);
  {
    auto host = OpenHost();
    EXPECT_TRUE(host->Stop());
  }
  std::string file;
  for (const auto& entry : std::filesystem::directory_iterator(config_.state_dir)) {
    if (entry.path().filename().string().starts_with("keyed-") && entry.path().extension() == ".db")
      file = entry.path();
  }
  ASSERT_NE(file, "");
  {
    Result<sqlite::Database> database = sqlite::Database::Open(file);
    ASSERT_TRUE(database.ok() && database->Execute("PRAGMA user_version=100"));
  }
  Publish(kKeyed, "first");
  Publish(kKeyed, "second");
  auto host = OpenHost();
  EXPECT_EQ(TakeAll(*host, 2).size(), 2u);
  EXPECT_NE(alarms().find("has format 1.0"), std::string::npos) << alarms();
  EXPECT_NE(alarms().find("may be deleted"), std::string::npos) << alarms();
}

}  // namespace
}  // namespace postbus::kafka
