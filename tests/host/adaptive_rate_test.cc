#include "host/adaptive_rate.h"

#include <gtest/gtest.h>

namespace postbus {
namespace {

TEST(AdaptiveRateTest, HalvesForEachSecondOfObjectionsAndRecoversByATwentiethASecond) {
  AdaptiveRate rate(100);
  EXPECT_EQ(rate.At(0), 100);
  rate.OnThrottled(100, 0);
  EXPECT_EQ(rate.At(0), 50);
  rate.OnThrottled(100, 999);
  EXPECT_NEAR(rate.At(999), 55, 0.1) << "those that were on their way are one objection";
  rate.OnThrottled(100, 2'000);
  EXPECT_NEAR(rate.At(2'000), 30, 0.1);
  EXPECT_NEAR(rate.At(12'000), 80, 0.1);
  EXPECT_EQ(rate.At(17'000), 100);
  EXPECT_EQ(rate.At(1'000'000), 100);
}

TEST(AdaptiveRateTest, FindsALimitWhereNoneWasConfiguredAndForgetsItAgain) {
  AdaptiveRate rate(AdaptiveRate::kNoLimit);
  EXPECT_EQ(rate.At(0), AdaptiveRate::kNoLimit);
  rate.OnThrottled(400, 0);
  EXPECT_EQ(rate.At(0), 200) << "half of what was too fast";
  EXPECT_NEAR(rate.At(10'000), 600, 0.1);
  EXPECT_EQ(rate.At(15'001), AdaptiveRate::kNoLimit) << "at twice that it takes whatever comes";
}

TEST(AdaptiveRateTest, OfATimeBeforeTheObjectionItIsTheReducedOne) {
  AdaptiveRate rate(100);
  rate.OnThrottled(100, 3'600'000);
  EXPECT_EQ(rate.At(0), 50) << "a reload asks without a time";
}

TEST(AdaptiveRateTest, NeverStops) {
  AdaptiveRate rate(0.2);
  for (int64_t second = 0; second < 100; ++second) rate.OnThrottled(0, second * 1'000);
  EXPECT_GT(rate.At(100'000), 0);
  EXPECT_LE(rate.At(100'000), 0.2);
}

}  // namespace
}  // namespace postbus
