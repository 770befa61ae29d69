#include "host/lane_share.h"

#include <gtest/gtest.h>

namespace postbus {
namespace {

TEST(LaneShareTest, IsStuffedWhenItHasItsShareAndDoesNotWorkItOff) {
  LaneShare share(60);
  share.Refresh(1'000);
  for (int i = 0; i < 60; ++i) share.Enter();
  EXPECT_FALSE(share.IsStuffed(Priority::kLow)) << "nothing can have come back yet";
  EXPECT_TRUE(share.IsUndecided());
  share.Refresh(1'500);
  share.Refresh(2'000);
  EXPECT_FALSE(share.IsStuffed(Priority::kLow)) << "a whole measure is needed";
  share.Refresh(3'000);
  EXPECT_TRUE(share.IsStuffed(Priority::kLow));
  EXPECT_FALSE(share.IsUndecided());
  EXPECT_FALSE(share.IsStuffed(Priority::kHigh)) << "for high ones there is a little more";
  for (int i = 0; i < 10; ++i) share.Enter();
  EXPECT_TRUE(share.IsStuffed(Priority::kHigh));
  for (int i = 0; i < 100; ++i) share.CountCompletion();
  share.Refresh(4'000);
  EXPECT_FALSE(share.IsStuffed(Priority::kLow)) << "50 a second empty it soon";
  for (int64_t ms = 5'000; ms < 11'000; ms += 1'000) share.Refresh(ms);
  EXPECT_TRUE(share.IsStuffed(Priority::kLow)) << "nothing came back for a while";
  for (int i = 0; i < 11; ++i) share.Leave();
  EXPECT_FALSE(share.IsStuffed(Priority::kLow));
}

TEST(LaneShareTest, ABacklogForAFastTransportIsNotPutOff) {
  LaneShare share(3'000);
  share.Refresh(1'000);  // the host starts
  for (int i = 0; i < 3'000; ++i) share.Enter();
  for (int64_t ms = 1'100; ms < 5'000; ms += 100) {
    share.Refresh(ms);
    ASSERT_FALSE(share.IsStuffed(Priority::kNormal)) << ms;
    for (int i = 0; i < 200; ++i) {
      share.CountCompletion();
      share.Leave();
      share.Enter();
    }
  }
}

TEST(LaneShareTest, OneThatNeverAnswersIsKnownBeforeItHasItsShare) {
  LaneShare share(80);
  share.Refresh(1'000);
  for (int i = 0; i < 11; ++i) share.Enter();
  for (int64_t ms = 1'100; ms <= 3'000; ms += 100) share.Refresh(ms);
  EXPECT_FALSE(share.IsStuffed(Priority::kLow)) << "there is room";
  for (int i = 0; i < 69; ++i) share.Enter();
  EXPECT_FALSE(share.IsUndecided());
  EXPECT_TRUE(share.IsStuffed(Priority::kLow));
}

TEST(LaneShareTest, ARateAtWhichFewMailsCameSaysNothingOfABacklog) {
  LaneShare share(80);
  share.Refresh(1'000);
  for (int i = 0; i < 11; ++i) share.Enter();
  for (int64_t ms = 1'100; ms <= 3'000; ms += 100) {
    share.Refresh(ms);
    if (ms % 500 == 0) share.CountCompletion();
  }
  for (int i = 0; i < 69; ++i) share.Enter();
  EXPECT_TRUE(share.IsUndecided());
  EXPECT_FALSE(share.IsStuffed(Priority::kLow));
}

TEST(LaneShareTest, PutsOffToTheSlotsOfAKnownRate) {
  LaneShare share(100);
  for (int i = 0; i < 100; ++i) share.Enter();
  EXPECT_EQ(share.PutOffUntil(2, 10'000), 60'000) << "after those that are here";
  EXPECT_EQ(share.PutOffUntil(2, 10'000), 60'500);
  for (int i = 0; i < 10'000; ++i) share.PutOffUntil(2, 10'000);
  EXPECT_EQ(share.PutOffUntil(2, 10'000), 60'000 + 500 * 10'002) << "each its own, however far";
}

TEST(LaneShareTest, WhereNoRateIsKnownTheyComeAgainSoonAndSpreadOut) {
  LaneShare share(300);
  for (int i = 0; i < 300; ++i) share.Enter();
  EXPECT_EQ(share.PutOffUntil(0, 0), 30'000);
  EXPECT_EQ(share.PutOffUntil(0, 0), 30'100) << "in half a minute a share of them";
  int64_t latest = 0;
  for (int i = 0; i < 100'000; ++i) latest = std::max(latest, share.PutOffUntil(0, 0));
  EXPECT_GT(latest, 590'000);
  EXPECT_LE(latest, 600'200) << "the last ones with the first: it may have recovered long before";
}

}  // namespace
}  // namespace postbus
