#include "event/due_clock.h"

#include <gtest/gtest.h>

namespace postbus {
namespace {

constexpr int64_t kHour = 3'600'000;
constexpr int64_t kStart = 1'766'692'800'000;
constexpr int64_t kNsPerMs = 1'000'000;

// Both clocks of a machine, and what would be due.
class DueClockTest : public testing::Test {
 protected:
  // `ms` later; the wall clock has been set `step_ms` further in between.
  DueClock::Reading After(int64_t ms, int64_t step_ms = 0) {
    boot_ms_ += ms;
    unix_ms_ += ms + step_ms;
    return clock_.Read(unix_ms_ * kNsPerMs, boot_ms_ * kNsPerMs);
  }

  int64_t unix_ms_ = kStart;
  int64_t boot_ms_ = 1'000;
  DueClock clock_{unix_ms_ * kNsPerMs, boot_ms_* kNsPerMs};
};

TEST_F(DueClockTest, GoesWithTheWallClock) {
  for (int64_t passed = 10; passed < 2 * kHour; passed += 10'000) {
    const auto reading = After(passed == 10 ? 10 : 10'000);
    EXPECT_EQ(reading.due_unix_ms, kStart + passed);
    EXPECT_EQ(reading.now_unix_ms, kStart + passed);
  }
}

TEST_F(DueClockTest, AWallClockThatIsSetForwardMakesNothingDue) {
  EXPECT_EQ(After(1'000, kHour).due_unix_ms, kStart + 1'000);
  EXPECT_EQ(After(60'000).due_unix_ms, kStart + 61'000);
  EXPECT_EQ(After(1'000, -kHour).due_unix_ms, kStart + 62'000) << "and back";
}

TEST_F(DueClockTest, AWallClockThatIsSetBackIsFollowedButDelaysAreCountedOn) {
  auto reading = After(1'000, -kHour);
  EXPECT_EQ(reading.due_unix_ms, kStart + 1'000 - kHour) << "it may have been wrong before";
  EXPECT_EQ(reading.now_unix_ms, kStart + 1'000) << "or be wrong now: what waits from now on must not be due too soon";
  reading = After(1'000, kHour);
  EXPECT_EQ(reading.due_unix_ms, kStart + 2'000);
}

TEST_F(DueClockTest, AStepThatLastsIsBelieved) {
  for (const int64_t step : {kHour, -kHour}) {
    const int64_t before = After(0).due_unix_ms;
    After(0, step);
    After(DueClock::kBelievedAfterMs - 1);
    EXPECT_EQ(After(0).now_unix_ms, before + DueClock::kBelievedAfterMs - 1);
    EXPECT_EQ(After(1).now_unix_ms, before + DueClock::kBelievedAfterMs + step);
    EXPECT_EQ(After(0).due_unix_ms, before + DueClock::kBelievedAfterMs + step);
  }
}

TEST_F(DueClockTest, IsNeverAheadForTheRoundingOfItsReadings) {
  constexpr int64_t kJust = 999'999;
  DueClock clock(kStart * kNsPerMs, kJust);
  const auto reading = clock.Read((kStart + 1) * kNsPerMs - 1 + kHour * kNsPerMs, kJust + kNsPerMs - 1);
  EXPECT_EQ(reading.due_unix_ms, kStart) << "the next millisecond has not begun";
  EXPECT_EQ(reading.now_unix_ms, kStart + 1) << "a delay counts from when it has";
}

TEST_F(DueClockTest, EachStepBeginsAnew) {
  After(0, kHour);
  After(DueClock::kBelievedAfterMs - 1);
  After(0, kHour);  // two hours ahead, just now
  EXPECT_EQ(After(1).due_unix_ms, kStart + DueClock::kBelievedAfterMs);
  After(0, -2 * kHour);  // right again, for long
  After(DueClock::kBelievedAfterMs);
  EXPECT_EQ(After(0, 2 * kHour).due_unix_ms, kStart + 2 * DueClock::kBelievedAfterMs);
}

}  // namespace
}  // namespace postbus
