#include "host/rate_limiter.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "postbus/abi/outcome.h"

namespace postbus {
namespace {

RateLimitConfig Limit(double per_second, double burst, std::vector<DomainRate> domains = {}) {
  return {.per_second = per_second, .burst = burst, .per_domain = std::move(domains)};
}

// Mails that go in a second of asking all the time.
size_t InASecond(RateLimiter& limiter, int64_t from_ms) {
  size_t taken = 0;
  for (int64_t ms = 0; ms < 1'000; ++ms) taken += limiter.Take(1'000, from_ms + ms);
  return taken;
}

TEST(RateLimiterTest, IsNotActiveWhereNothingIsLimited) {
  RateLimiter limiter(Limit(0, 0));
  EXPECT_FALSE(limiter.active());
  EXPECT_FALSE(limiter.limits_domains());
  limiter.Refresh(1, 1'000);
  EXPECT_FALSE(limiter.active());
  EXPECT_EQ(limiter.per_second(), 0);
}

TEST(RateLimiterTest, AHostGetsItsShareOfTheGroupsRate) {
  RateLimiter limiter(Limit(100, 10));
  EXPECT_NEAR(static_cast<double>(InASecond(limiter, 10'000)), 110, 1);
  limiter.Refresh(0.25, 20'000);
  EXPECT_EQ(limiter.per_second(), 25);
  EXPECT_NEAR(static_cast<double>(InASecond(limiter, 20'000)), 27, 1);
  limiter.Refresh(1, 30'000);
  EXPECT_NEAR(static_cast<double>(InASecond(limiter, 30'000)), 110, 1);
}

TEST(RateLimiterTest, WhoAsksWhenItSaysGetsTheWholeRateInFewTurns) {
  constexpr int64_t kLateMs = 1;  // at each turn
  for (const double per_second : {20.0, 60.0, 75.0, 99.0, 1'000.0, 20'000.0}) {
    RateLimiter limiter(Limit(per_second, 1));
    limiter.Take(1'000'000, 10'000);
    size_t taken = 0, turns = 0;
    for (int64_t now = limiter.FreeAtMs(); now < 20'000; now = std::max(now + 1, limiter.FreeAtMs()), ++turns) {
      taken += limiter.Take(1'000'000, now + (per_second > 50 ? kLateMs : 0));
    }
    EXPECT_NEAR(static_cast<double>(taken), 10 * per_second, per_second * 0.02 + 1) << per_second;
    EXPECT_LE(turns, 10'000 / 5) << per_second;
  }
}

TEST(RateLimiterTest, EachDomainHasARateOfItsOwn) {
  RateLimiter limiter(Limit(0, 0, {{"gmail.com", 2, 1}, {"*.jp", 4, 1}}));
  EXPECT_TRUE(limiter.limits_domains());
  EXPECT_TRUE(limiter.TakeForDomain("gmail.com", 1'000).taken);
  const auto slot = limiter.TakeForDomain("gmail.com", 1'000);
  EXPECT_FALSE(slot.taken);
  EXPECT_EQ(slot.free_at_ms, 1'500);
  EXPECT_EQ(slot.per_second, 2);
  EXPECT_TRUE(limiter.TakeForDomain("gmail.com", 1'500).taken);
  EXPECT_TRUE(limiter.TakeForDomain("a.jp", 1'000).taken);
  EXPECT_TRUE(limiter.TakeForDomain("b.jp", 1'000).taken) << "one domain does not use up another's";
  EXPECT_FALSE(limiter.TakeForDomain("a.jp", 1'000).taken);
  for (int i = 0; i < 100; ++i) EXPECT_TRUE(limiter.TakeForDomain("example.com", 1'000).taken);
}

TEST(RateLimiterTest, DomainsAreForgottenWhenThereAreTooMany) {
  RateLimiter limiter(Limit(0, 0, {{"*", 1, 1}}));
  for (int i = 0; i < 30'000; ++i) {
    ASSERT_TRUE(limiter.TakeForDomain(std::to_string(i) + ".org", 1'000 + i * 100).taken);
  }
  EXPECT_FALSE(limiter.TakeForDomain("29999.org", 1'000 + 29'999 * 100).taken) << "not those in use";
}

TEST(RateLimiterTest, SlowsDownWhenThePeerThrottlesAndRecoversByItself) {
  RateLimiter limiter(Limit(100, 1));
  limiter.Note(POSTBUS_THROTTLED, 0, 10'000);
  EXPECT_EQ(limiter.per_second(), 50);
  EXPECT_NEAR(static_cast<double>(InASecond(limiter, 10'000)), 50, 1);
  limiter.Refresh(1, 21'000);
  EXPECT_EQ(limiter.per_second(), 100);
}

TEST(RateLimiterTest, HoldsAsLongAsThePeerAsksFor) {
  RateLimiter limiter(Limit(100, 10));
  limiter.Note(POSTBUS_THROTTLED, 3'000, 10'000);
  EXPECT_EQ(limiter.Take(1, 12'999), 0u);
  EXPECT_GE(limiter.FreeAtMs(), 13'000);
  EXPECT_LE(limiter.FreeAtMs(), 13'005);
  EXPECT_EQ(limiter.Take(1, 13'000), 1u);
}

TEST(RateLimiterTest, RecoveryDoesNotHoldWhatMightGoBefore) {
  RateLimiter limiter(Limit(200, 10'000));
  limiter.Note(POSTBUS_THROTTLED, 0, 10'000);
  ASSERT_EQ(limiter.per_second(), 100);
  limiter.Refresh(1, 21'000);
  ASSERT_EQ(limiter.per_second(), 200);
  EXPECT_LE(limiter.FreeAtMs(), 21'000);
  EXPECT_GT(limiter.Take(1'000, 21'000), 0u);
}

TEST(RateLimiterTest, ABurstThatIsNotSetIsATenthOfASecond) {
  RateLimiter limiter(Limit(200, 0));
  EXPECT_EQ(limiter.Take(1'000, 10'000), 20u);
}

TEST(RateLimiterTest, FindsALimitWhereNoneIsConfigured) {
  RateLimiter limiter(Limit(0, 0));
  limiter.Refresh(1, 10'000);
  for (int i = 0; i < 400; ++i) limiter.Note(POSTBUS_ACCEPTED, 0, 10'000 + i);
  limiter.Refresh(1, 11'000);
  limiter.Note(POSTBUS_THROTTLED, 0, 11'000);
  EXPECT_TRUE(limiter.active());
  EXPECT_NEAR(limiter.per_second(), 200, 1);
  limiter.Refresh(1, 27'000);
  EXPECT_FALSE(limiter.active()) << "it has recovered";
}

}  // namespace
}  // namespace postbus
