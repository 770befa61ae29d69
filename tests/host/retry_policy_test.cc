#include "host/retry_policy.h"

#include <gtest/gtest.h>

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

TEST(RetryPolicy, AHugeRetryAfterDoesNotOverflow) {
  AttemptFacts facts = Facts(POSTBUS_THROTTLED);
  facts.retry_after_ms = UINT64_MAX;
  EXPECT_EQ(Decide(Config(), facts).delay_ms, Config().max_age_ms);
}

}  // namespace
}  // namespace postbus
