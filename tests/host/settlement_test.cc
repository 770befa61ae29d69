#include "host/settlement.h"

#include <gtest/gtest.h>

#include <array>
#include <memory>

#include "event/clock.h"
#include "event/due_clock.h"
#include "event/email_event.h"
#include "tests/host/fake_queue.h"

namespace postbus {
namespace {

constexpr TurnId kTurn = 7;
constexpr int64_t kHourMs = 3'600'000;

RecipientSet Only(size_t index) {
  RecipientSet set;
  set.insert(index);
  return set;
}

// A job for three recipients with backoff 30 s, and what was done with its turn.
class SettlementTest : public testing::Test {
 protected:
  SettlementTest() {
    Config config;
    config.retry.backoff_ms = {30'000};
    job_.generation = std::make_shared<Generation>(
        Generation{1, config, Router(config), RecipientPolicy(config.recipients), {}, nullptr, {}});
    job_.queued.turn = kTurn;
    job_.queued.value =
        R"({"type":"t","message":{"from":"a@x.org","to":["b@x.org","c@x.org","d@x.org"],"template":"hello"}})";
    job_.queued.headers.accepted_at_unix_ms = DueTimeMs();
    EventDecoder decoder{EventLimits()};
    EXPECT_TRUE(decoder.Decode(job_.queued.value, Strictness::kQueue, job_.event));
    job_.id = "id-1";
    job_.due = RecipientSet::All(3);
    job_.indexes = {0, 1, 2};
    settlement_.Use(queue_);
    counters_ = metrics_.ForTransport("primary");
  }

  // What each of the recipients gets.
  void Answer(const std::array<int32_t, 3>& outcomes) {
    std::array<postbus_recipient_result, 3> each{};
    std::array<const postbus_recipient_result*, 3> list{};
    for (uint32_t i = 0; i < each.size(); ++i) {
      each[i].size = sizeof each[i];
      each[i].recipient = i;
      each[i].outcome = outcomes[i];
      list[i] = &each[i];
    }
    postbus_result result{};
    result.size = sizeof result;
    result.outcome = POSTBUS_ACCEPTED;
    result.recipients = list.data();
    result.n_recipients = list.size();
    job_.result.Assign(result, 3);
  }
  int64_t SettleAttempt() { return settlement_.SettleAttempt(job_, "primary", counters_); }
  FakeQueue::Turn Turn() { return queue_.turns()[kTurn]; }

  FakeQueue queue_;
  Cancellations cancellations_;
  Metrics metrics_;
  Metrics::TransportCounters counters_;
  Log log_{LogConfig{.level = "error"}};
  Settlement settlement_{"key", cancellations_, metrics_, log_};
  Job job_;
};

TEST_F(SettlementTest, RecipientsWithOneOutcomeShareOneReport) {
  Answer({POSTBUS_ACCEPTED, POSTBUS_REJECTED_RECIPIENT, POSTBUS_ACCEPTED});
  SettleAttempt();
  EXPECT_TRUE(job_.due.empty());
  EXPECT_TRUE(job_.touched);
  const auto turn = Turn();
  ASSERT_EQ(turn.reports.size(), 2u);
  EXPECT_EQ(turn.reports[0].change, Change::kSent);
  EXPECT_EQ(turn.reports[0].recipients.bits, Only(0).bits | Only(2).bits);
  EXPECT_EQ(turn.reports[0].recipient_hashes.size(), 2u);
  EXPECT_EQ(turn.reports[1].change, Change::kDeadLettered);
  EXPECT_EQ(turn.reports[1].recipients, Only(1));
  ASSERT_EQ(turn.dead_letters.size(), 1u);
  EXPECT_EQ(turn.dead_letters[0].recipients, Only(1));
  EXPECT_FALSE(turn.over()) << "to end it is the shard's business";
}

TEST_F(SettlementTest, WhoIsToBeTriedAgainByThisTurnStaysDueAndTheShortestWaitCounts) {
  Answer({POSTBUS_PROVIDER_FAULT, POSTBUS_TRANSIENT, POSTBUS_NOT_SENT});
  job_.queued.headers.attempt = 1;
  const int64_t wait_ms = SettleAttempt();
  EXPECT_EQ(wait_ms, 100) << "NOT_SENT waits for less than PROVIDER_FAULT";
  EXPECT_EQ(job_.due.bits, Only(0).bits | Only(2).bits);
  const auto turn = Turn();
  ASSERT_EQ(turn.deferred.size(), 1u);
  EXPECT_EQ(turn.deferred[0].recipients, Only(1));
  EXPECT_EQ(turn.deferred[0].attempt, 2);
  ASSERT_EQ(turn.reports.size(), 1u) << "nothing is told of those that wait";
  EXPECT_EQ(turn.reports[0].change, Change::kDeferred);
}

TEST_F(SettlementTest, ACancelledMailIsNotTriedAgain) {
  cancellations_.Add("id-1", UnixTimeMs());
  Answer({POSTBUS_ACCEPTED, POSTBUS_TRANSIENT, POSTBUS_PROVIDER_FAULT});
  SettleAttempt();
  EXPECT_TRUE(job_.due.empty());
  const auto turn = Turn();
  EXPECT_TRUE(turn.deferred.empty());
  ASSERT_EQ(turn.reports.size(), 3u);
  EXPECT_EQ(turn.reports[0].change, Change::kSent);
  EXPECT_EQ(turn.reports[1].change, Change::kCancelled);
  EXPECT_EQ(turn.reports[2].change, Change::kCancelled);
}

TEST_F(SettlementTest, OfAnEarlierTurnTheAcceptedAreSentAndTheDoubtfulGoAgain) {
  job_.queued.past.accepted = Only(0);
  job_.queued.past.in_doubt = Only(1);
  settlement_.SettlePast(job_);
  EXPECT_EQ(job_.due, Only(2));
  const auto turn = Turn();
  ASSERT_EQ(turn.reports.size(), 2u);
  EXPECT_EQ(turn.reports[0].change, Change::kSent);
  EXPECT_EQ(turn.reports[0].transport, "") << "not known any more";
  EXPECT_EQ(turn.reports[1].change, Change::kDeferred);
  ASSERT_EQ(turn.deferred.size(), 1u);
  EXPECT_EQ(turn.deferred[0].recipients, Only(1));
}

TEST_F(SettlementTest, WhatAnotherHostClaimedEndsInDoubtWhateverTheConfigurationSaysToday) {
  ASSERT_EQ(job_.generation->config.retry.in_doubt, WhenInDoubt::kRetry);
  job_.queued.past.claimed = true;
  job_.queued.past.accepted = Only(0);
  settlement_.SettlePast(job_);
  EXPECT_TRUE(job_.due.empty());
  const auto turn = Turn();
  EXPECT_TRUE(turn.deferred.empty());
  ASSERT_EQ(turn.dead_letters.size(), 1u);
  EXPECT_EQ(turn.dead_letters[0].recipients.bits, Only(1).bits | Only(2).bits);
  EXPECT_EQ(turn.dead_letters[0].outcome_class, "in_doubt");
}

TEST_F(SettlementTest, ASuspectInDoubtGetsNoCopyThatWouldBeUnderNoSuspicion) {
  job_.queued.past.crashes = 1;
  job_.queued.past.in_doubt = RecipientSet::All(3);
  settlement_.SettlePast(job_);
  EXPECT_EQ(job_.due, RecipientSet::All(3));
  EXPECT_FALSE(job_.touched);
  EXPECT_TRUE(Turn().reports.empty());
}

TEST_F(SettlementTest, WhatIsPutOffCostsNoAttempt) {
  job_.queued.headers.attempt = 2;
  const int64_t before = DueTimeMs();
  settlement_.PutOff(job_, "primary", kHourMs);
  const auto turn = Turn();
  ASSERT_EQ(turn.deferred.size(), 1u);
  EXPECT_EQ(turn.deferred[0].attempt, 2);
  EXPECT_EQ(turn.deferred[0].outcome_class, "no_slot");
  EXPECT_GE(turn.deferred[0].due_unix_ms, before + kHourMs);
  ASSERT_EQ(turn.reports.size(), 1u);
  EXPECT_EQ(turn.reports[0].change, Change::kDeferred);
  EXPECT_EQ(turn.reports[0].transport, "primary");
}

TEST_F(SettlementTest, WhatWouldExpireUntilThenExpiresNow) {
  job_.event.expires_at_unix_ms = DueTimeMs() + kHourMs / 2;
  settlement_.PutOff(job_, "primary", kHourMs);
  const auto turn = Turn();
  EXPECT_TRUE(turn.deferred.empty());
  ASSERT_EQ(turn.reports.size(), 1u);
  EXPECT_EQ(turn.reports[0].change, Change::kExpired);
  EXPECT_EQ(turn.reports[0].recipients, RecipientSet::All(3));
}

}  // namespace
}  // namespace postbus
