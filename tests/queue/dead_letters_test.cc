// What `postbus dlq` stands on, on each backend: see queue_harness.h.
#include "queue/dead_letters.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <stdexcept>

#include "tests/queue/queue_harness.h"
#include "tests/queue/queue_test_host.h"

namespace postbus {
namespace {

std::string HighEvent(const std::string& id) {
  return R"({"type":"t","message":{"id":")" + id +
         R"(","to":["a@example.com","b@example.com"],"template":"welcome","priority":"high"}})";
}

class DeadLettersOfAQueue : public testing::Test {
 protected:
  void SetUp() override {
    std::string reason;
    harness_ = NewQueueHarness(reason);
    if (harness_ == nullptr) GTEST_SKIP() << reason;
    Result<std::unique_ptr<Queue>> queue = harness_->Open(Role::kHost);
    if (!queue.ok()) throw std::runtime_error(std::string(queue.status().message()));
    host_ = std::make_unique<TestHost>(std::move(*queue), 1);
  }
  void TearDown() override {
    if (host_) host_->Stop();
  }

  // Publishes each and dead-letters it for its second recipient, at the third attempt.
  void Bury(const std::vector<std::string>& ids) {
    for (const std::string& id : ids) {
      const std::string value = HighEvent(id);
      const NewEvent event{
          .id = id, .priority = Priority::kHigh, .accepted_at_unix_ms = kLongAgo, .value = value, .traceparent = {}};
      ASSERT_TRUE(PublishAndWait(host_->queue(), event).ok());
    }
    const uint64_t before = host_->queue().Stats().completed;
    for (size_t i = 0; i < ids.size(); ++i) {
      QueuedEvent event;
      ASSERT_TRUE(host_->Next(event));
      origins_[event.headers.id] = event.headers.origin;
      DeadLetterCopy letter;
      letter.recipients.insert(1);
      letter.attempt = 3;
      letter.outcome_class = "rejected_recipient";
      letter.message = "550 5.1.1 no such user";
      letter.id = event.headers.id;
      letter.value = event.value;
      host_->shard().DeadLetter(event.turn, letter);
      host_->Complete(event);
    }
    ASSERT_TRUE(WaitUntil([&] { return host_->queue().Stats().completed == before + ids.size(); }));
  }

  std::unique_ptr<DeadLetters> Open() {
    Result<std::unique_ptr<DeadLetters>> letters = harness_->OpenDeadLetters();
    if (!letters.ok()) throw std::runtime_error(std::string(letters.status().message()));
    return std::move(*letters);
  }

  static std::map<std::string, DeadLetter> ById(DeadLetters& letters) {
    std::map<std::string, DeadLetter> found;
    const Status status = letters.ForEach([&](const DeadLetter& letter) {
      EXPECT_TRUE(found.emplace(letter.id, letter).second) << letter.id << " twice";
      return Status();
    });
    EXPECT_TRUE(status.ok()) << status.message();
    return found;
  }

  static std::vector<std::string> Ids(DeadLetters& letters) {
    std::vector<std::string> ids;
    for (const auto& [id, letter] : ById(letters)) ids.push_back(id);
    return ids;
  }

  static constexpr int64_t kLongAgo = 1'700'000'000'000;
  std::unique_ptr<QueueHarness> harness_;
  std::unique_ptr<TestHost> host_;
  std::map<std::string, Origin> origins_;
};

using Strings = std::vector<std::string>;

TEST_F(DeadLettersOfAQueue, AreListedWithReasonHeadersAndValue) {
  const int64_t begin = UnixTimeMs();
  Bury({"a", "b"});
  auto letters = Open();
  const auto found = ById(*letters);
  ASSERT_EQ(found.size(), 2U);
  const DeadLetter& letter = found.at("b");
  EXPECT_FALSE(letter.place.empty());
  EXPECT_NE(letter.place, found.at("a").place);
  EXPECT_EQ(letter.message, "550 5.1.1 no such user");
  EXPECT_EQ(letter.headers.outcome_class, "rejected_recipient");
  EXPECT_EQ(letter.headers.attempt, 3);
  EXPECT_EQ(letter.headers.recipients, RecipientSet{0b10});
  EXPECT_EQ(letter.headers.origin.DerivedId(), origins_.at("b").DerivedId());
  EXPECT_EQ(letter.value, HighEvent("b"));
  EXPECT_GE(letter.at_unix_ms, begin);
  EXPECT_LE(letter.at_unix_ms, UnixTimeMs());
  EXPECT_TRUE(std::any_of(letter.record_headers.begin(), letter.record_headers.end(), [](const auto& header) {
    return header == std::pair<std::string, std::string>("postbus-id", "b");
  }));
}

TEST_F(DeadLettersOfAQueue, AReplayedOneComesOnceAsIfNeverTried) {
  Bury({"a", "b"});
  {
    auto letters = Open();
    const DeadLetter letter = ById(*letters).at("a");
    const int64_t begin = UnixTimeMs();
    const Status replayed = letters->Replay(letter);
    ASSERT_TRUE(replayed.ok()) << replayed.message();
    EXPECT_EQ(Ids(*letters), Strings{"b"});

    QueuedEvent event;
    ASSERT_TRUE(host_->Next(event));
    EXPECT_EQ(event.headers.id, "a");
    EXPECT_EQ(event.priority, Priority::kHigh);
    EXPECT_EQ(event.value, HighEvent("a"));
    EXPECT_EQ(event.headers.recipients, RecipientSet{0b10});
    EXPECT_EQ(event.headers.attempt, 0);
    EXPECT_EQ(event.headers.replay, 1);
    EXPECT_EQ(event.headers.outcome_class, "");
    EXPECT_EQ(event.headers.due_unix_ms, 0);
    EXPECT_GE(event.headers.accepted_at_unix_ms, begin);
    EXPECT_EQ(event.headers.origin.DerivedId(), origins_.at("a").DerivedId());
    host_->Complete(event);
  }
  EXPECT_EQ(Ids(*Open()), Strings{"b"});
  ASSERT_TRUE(host_->Stop());
  host_.reset();
  std::vector<int> replays;  // of the queued records: SQLite writes one for the publication, too
  for (const StatusRecord& record : harness_->StatusRecords()) {
    if (record.id == "a" && record.change == Change::kQueued) replays.push_back(record.replay);
  }
  EXPECT_EQ(std::count(replays.begin(), replays.end(), 1), 1);
}

TEST_F(DeadLettersOfAQueue, AReplayedOneMayBecomeOneAgain) {
  Bury({"a"});
  {
    auto letters = Open();
    ASSERT_TRUE(letters->Replay(ById(*letters).at("a")).ok());
  }
  QueuedEvent event;
  ASSERT_TRUE(host_->Next(event));
  const uint64_t before = host_->queue().Stats().completed;
  host_->shard().DeadLetter(event.turn, {.recipients = {0b10},
                                         .attempt = 1,
                                         .outcome_class = "transient",
                                         .message = "again",
                                         .id = {},
                                         .value = event.value});
  host_->Complete(event);
  ASSERT_TRUE(WaitUntil([&] { return host_->queue().Stats().completed == before + 1; }));
  auto letters = Open();
  const auto found = ById(*letters);
  ASSERT_EQ(found.size(), 1U);
  EXPECT_EQ(found.at("a").headers.replay, 1);
  EXPECT_EQ(found.at("a").message, "again");
}

TEST_F(DeadLettersOfAQueue, ADiscardedOneIsGone) {
  Bury({"a", "b", "c"});
  {
    auto letters = Open();
    const Status status = letters->ForEach(
        [&](const DeadLetter& letter) { return letter.id == "b" ? letters->Discard(letter) : Status(); });
    EXPECT_TRUE(status.ok()) << status.message();
    EXPECT_EQ(Ids(*letters), (Strings{"a", "c"}));
  }
  EXPECT_EQ(Ids(*Open()), (Strings{"a", "c"}));
  QueuedEvent event;
  EXPECT_FALSE(host_->Next(event, 1000));
}

TEST_F(DeadLettersOfAQueue, WhatComesAfterTheyWereOpenedIsNotSeen) {
  // Of Kafka's partitions each has some before and after.
  const Strings before = {"a", "b", "c", "d", "e", "f", "g", "h"};
  const Strings after = {"i", "j", "k", "l", "m", "n", "o", "p"};
  Bury(before);
  auto letters = Open();
  Bury(after);
  EXPECT_EQ(Ids(*letters), before);
  EXPECT_EQ(Ids(*Open()).size(), before.size() + after.size());
}

TEST_F(DeadLettersOfAQueue, OfANewerFormatAreNotReplayed) {
  Bury({"a"});
  auto letters = Open();
  DeadLetter letter = ById(*letters).at("a");
  letter.headers.format = EventHeaders::kFormat + 1;
  const Status status = letters->Replay(letter);
  ASSERT_FALSE(status.ok());
  EXPECT_EQ(status.kind(), ErrorKind::kInvalid);
  EXPECT_EQ(Ids(*letters), Strings{"a"});
}

}  // namespace
}  // namespace postbus
