#include "host/schedule.h"

#include <gtest/gtest.h>

namespace postbus {
namespace {

constexpr int64_t kNow = 1'766'692'800'000;

TEST(Schedule, WhenToSend) {
  EmailEvent event;
  EXPECT_EQ(WhenToSend(event, 0, kNow), SendTime::kNow);
  event.scheduled_at_unix_ms = kNow;
  EXPECT_EQ(WhenToSend(event, 0, kNow), SendTime::kNow);
  event.scheduled_at_unix_ms = kNow + 1;
  EXPECT_EQ(WhenToSend(event, 0, kNow), SendTime::kLater);
  EXPECT_EQ(WhenToSend(event, kNow, kNow), SendTime::kLater) << "it waited for something else";
  EXPECT_EQ(WhenToSend(event, kNow + 1, kNow), SendTime::kNow) << "the queue has judged";
  event.scheduled_at_unix_ms = kNow + EventLimits::kMaxScheduleAheadMs + 1;
  EXPECT_EQ(WhenToSend(event, 0, kNow), SendTime::kTooFarAhead);
  event.expires_at_unix_ms = kNow;
  EXPECT_EQ(WhenToSend(event, 0, kNow), SendTime::kNever);
  event.expires_at_unix_ms = kNow + 1;
  event.scheduled_at_unix_ms = 0;
  EXPECT_EQ(WhenToSend(event, 0, kNow), SendTime::kNow);
}

TEST(Schedule, TheDateIsTheLaterOfTimestampAndSchedule) {
  EmailEvent event;
  EXPECT_EQ(DateOf(event, kNow), kNow);
  event.timestamp_unix_ms = kNow - 5'000;
  EXPECT_EQ(DateOf(event, kNow), kNow - 5'000);
  event.scheduled_at_unix_ms = kNow - 6'000;
  EXPECT_EQ(DateOf(event, kNow), kNow - 5'000);
  event.scheduled_at_unix_ms = kNow + 6'000;
  EXPECT_EQ(DateOf(event, kNow), kNow + 6'000);
}

}  // namespace
}  // namespace postbus
