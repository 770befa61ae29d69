#include "host/retry_policy.h"

#include <gtest/gtest.h>

#include <set>
#include <utility>

#include "postbus/abi/outcome.h"

namespace postbus {
namespace {

using Action = Decision::Action;

RetryConfig Config() {
  return {.max_retries = 3, .max_retries_limit = 20, .backoff_ms = {30'000, 600'000}, .max_age_ms = 1'000'000};
}

AttemptFacts Facts(int32_t outcome) { return {.outcome = outcome, .max_retries = 3}; }

TEST(RetryPolicy, AcceptedIsComplete) {
  EXPECT_EQ(Decide(Config(), Facts(POSTBUS_ACCEPTED)).action, Action::kComplete);
}

TEST(RetryPolicy, PermanentOutcomesAreDeadLetteredWithTheirName) {
  for (const int32_t outcome : {POSTBUS_REJECTED_RECIPIENT, POSTBUS_REJECTED_MESSAGE, POSTBUS_UNSUPPORTED}) {
    const Decision decision = Decide(Config(), Facts(outcome));
    EXPECT_EQ(decision.action, Action::kDeadLetter);
    EXPECT_EQ(decision.reason, OutcomeName(outcome));
  }
}

TEST(RetryPolicy, TransientAndInDoubtCostAnAttemptAndFollowTheBackoff) {
  for (const int32_t outcome : {POSTBUS_TRANSIENT, POSTBUS_IN_DOUBT}) {
    AttemptFacts facts = Facts(outcome);
    const int64_t expected_ms[] = {30'000, 600'000, 600'000};  // the last step repeats
    for (int spent = 0; spent < 3; ++spent) {
      facts.attempts_spent = spent;
      const Decision decision = Decide(Config(), facts);
      EXPECT_EQ(decision.action, Action::kDefer);
      EXPECT_TRUE(decision.costs_attempt);
      EXPECT_EQ(decision.delay_ms, expected_ms[spent]);
      EXPECT_EQ(decision.reason, OutcomeName(outcome));
    }
    facts.attempts_spent = 3;
    EXPECT_EQ(Decide(Config(), facts).action, Action::kDeadLetter);
    EXPECT_EQ(Decide(Config(), facts).reason, "attempts_exhausted");
  }
}

TEST(RetryPolicy, InDoubtIsADeadLetterWhereNothingMayGoTwice) {
  RetryConfig config = Config();
  config.in_doubt = WhenInDoubt::kDeadLetter;
  AttemptFacts facts = Facts(POSTBUS_IN_DOUBT);
  const Decision expected = {.action = Action::kDeadLetter, .reason = "in_doubt"};
  EXPECT_EQ(Decide(config, facts), expected);
  facts.expires_in_ms = 1;  // neither is it expired: it may have been sent
  facts.age_ms = config.max_age_ms;
  EXPECT_EQ(Decide(config, facts), expected);
  EXPECT_EQ(Decide(config, Facts(POSTBUS_TRANSIENT)).action, Action::kDefer) << "that one was certainly not sent";
}

TEST(RetryPolicy, NeverRetryDeadLettersTheFirstTransientOutcome) {
  AttemptFacts facts = Facts(POSTBUS_TRANSIENT);
  facts.max_retries = 0;
  EXPECT_EQ(Decide(Config(), facts).reason, "attempts_exhausted");
}

TEST(RetryPolicy, OutagesAndTakenBackMailsWaitAndCostNothing) {
  for (const int32_t outcome : {POSTBUS_PROVIDER_FAULT, POSTBUS_NOT_SENT}) {
    AttemptFacts facts = Facts(outcome);
    facts.attempts_spent = 3;  // even with none left
    int64_t last_ms = 0;
    for (facts.waits = 0; facts.waits < 100; ++facts.waits) {
      const Decision decision = Decide(Config(), facts);
      EXPECT_EQ(decision.action, Action::kWait);
      EXPECT_FALSE(decision.costs_attempt);
      EXPECT_GE(decision.delay_ms, last_ms);
      EXPECT_GT(decision.delay_ms, 0);
      EXPECT_LE(decision.delay_ms, kLongestWaitMs);
      last_ms = decision.delay_ms;
    }
  }
}

TEST(RetryPolicy, ThrottledWaitsAsAskedAndLeavesMemoryWhereItIsLong) {
  AttemptFacts facts = Facts(POSTBUS_THROTTLED);
  facts.retry_after_ms = 12'000;
  EXPECT_EQ(Decide(Config(), facts), (Decision{Action::kWait, 12'000, false, "throttled"}));
  facts.retry_after_ms = 120'000;
  EXPECT_EQ(Decide(Config(), facts), (Decision{Action::kDefer, 120'000, false, "throttled"}));
  facts.retry_after_ms = 0;
  EXPECT_EQ(Decide(Config(), facts).delay_ms, 1'000);
}

TEST(RetryPolicy, TransientHonoursALaterTimeOfTheServer) {
  AttemptFacts facts = Facts(POSTBUS_TRANSIENT);
  facts.retry_after_ms = 90'000;
  EXPECT_EQ(Decide(Config(), facts).delay_ms, 90'000);
  facts.retry_after_ms = 1'000;
  EXPECT_EQ(Decide(Config(), facts).delay_ms, 30'000);
}

TEST(RetryPolicy, TooOldIsDeadLetteredInsteadOfTriedAgain) {
  for (const int32_t outcome : {POSTBUS_TRANSIENT, POSTBUS_THROTTLED, POSTBUS_NOT_SENT, POSTBUS_PROVIDER_FAULT}) {
    AttemptFacts facts = Facts(outcome);
    facts.age_ms = 1'000'000;
    EXPECT_EQ(Decide(Config(), facts).action, Action::kDeadLetter);
    EXPECT_EQ(Decide(Config(), facts).reason, "max_age");
  }
  AttemptFacts sent = Facts(POSTBUS_ACCEPTED);
  sent.age_ms = 1'000'000;
  EXPECT_EQ(Decide(Config(), sent).action, Action::kComplete);
}

TEST(RetryPolicy, ADeferralHasAJitterOfATenthAtTheMostAndNoMoreThanWaitsInMemory) {
  const RetryConfig config = {.max_retries = 3, .max_retries_limit = 20, .backoff_ms = {1'000, 30'000, 3'600'000}};
  for (const auto& [spent, most_ms] : {std::pair{0, int64_t{100}}, {1, int64_t{3'000}}, {2, kMaxJitterMs}}) {
    AttemptFacts facts = Facts(POSTBUS_TRANSIENT);
    facts.attempts_spent = spent;
    const int64_t backoff_ms = config.backoff_ms[static_cast<size_t>(spent)];
    std::set<int64_t> delays;
    for (facts.spread = 0; facts.spread < 20'000; ++facts.spread) delays.insert(Decide(config, facts).delay_ms);
    EXPECT_EQ(*delays.begin(), backoff_ms) << "never shorter";
    EXPECT_EQ(*delays.rbegin(), backoff_ms + most_ms);
    EXPECT_EQ(delays.size(), static_cast<size_t>(most_ms) + 1) << "mails are spread over all of it";
  }
  AttemptFacts asked = Facts(POSTBUS_TRANSIENT);
  asked.retry_after_ms = 7'200'000;
  asked.spread = 12'345'678'901;
  EXPECT_GE(Decide(config, asked).delay_ms, 7'200'000);
  AttemptFacts waits = Facts(POSTBUS_NOT_SENT);
  waits.spread = 12'345'678'901;
  EXPECT_EQ(Decide(config, waits).delay_ms, 100) << "what waits in memory needs none";
}

TEST(RetryPolicy, WhatWouldComeTooLateExpiresAtOnce) {
  for (const int32_t outcome :
       {POSTBUS_TRANSIENT, POSTBUS_IN_DOUBT, POSTBUS_THROTTLED, POSTBUS_NOT_SENT, POSTBUS_PROVIDER_FAULT}) {
    AttemptFacts facts = Facts(outcome);
    const Decision without = Decide(Config(), facts);
    facts.expires_in_ms = without.delay_ms;
    EXPECT_EQ(Decide(Config(), facts).action, Action::kExpire) << outcome;
    facts.expires_in_ms = without.delay_ms + 1;
    EXPECT_EQ(Decide(Config(), facts), without) << outcome;
  }
  AttemptFacts final = Facts(POSTBUS_REJECTED_MESSAGE);
  final.expires_in_ms = 0;
  EXPECT_EQ(Decide(Config(), final).action, Action::kDeadLetter);
  final.outcome = POSTBUS_ACCEPTED;
  EXPECT_EQ(Decide(Config(), final).action, Action::kComplete);
}

TEST(RetryPolicy, WhatWasCancelledIsNotTriedAgain) {
  for (const int32_t outcome :
       {POSTBUS_TRANSIENT, POSTBUS_IN_DOUBT, POSTBUS_THROTTLED, POSTBUS_NOT_SENT, POSTBUS_PROVIDER_FAULT}) {
    AttemptFacts facts = Facts(outcome);
    facts.cancelled = true;
    facts.attempts_spent = 3;  // and with none left it is no dead letter
    EXPECT_EQ(Decide(Config(), facts).action, Action::kCancel) << outcome;
    EXPECT_EQ(Decide(Config(), facts).reason, "cancelled") << outcome;
  }
  AttemptFacts over = Facts(POSTBUS_ACCEPTED);
  over.cancelled = true;
  EXPECT_EQ(Decide(Config(), over).action, Action::kComplete) << "it came too late";
  over.outcome = POSTBUS_REJECTED_RECIPIENT;
  EXPECT_EQ(Decide(Config(), over).action, Action::kDeadLetter);
}

TEST(RetryPolicy, AHugeRetryAfterDoesNotOverflow) {
  AttemptFacts facts = Facts(POSTBUS_THROTTLED);
  facts.retry_after_ms = UINT64_MAX;
  EXPECT_EQ(Decide(Config(), facts).delay_ms, Config().max_age_ms);
}

}  // namespace
}  // namespace postbus
