#include "host/breaker.h"

#include <gtest/gtest.h>

#include "postbus/abi/outcome.h"

namespace postbus {
namespace {

constexpr BreakerConfig kConfig = {.failures = 3, .probe_after_ms = 8'000};

class BreakerTest : public testing::Test {
 protected:
  bool Note(int32_t outcome, bool first = true) { return breaker_.Note(outcome, first, now_); }
  bool Allows() const { return breaker_.Allows(now_); }
  // How long it stays open from now on.
  int64_t Pause() {
    int64_t pause = 0;
    while (!breaker_.Allows(now_ + pause)) pause += 100;
    return pause;
  }

  Breaker breaker_{kConfig};
  int64_t now_ = 1'000'000;
};

TEST_F(BreakerTest, WhatIsSaidOfOneMailNeverOpensIt) {
  for (int i = 0; i < 100; ++i) {
    for (const int32_t outcome : {POSTBUS_ACCEPTED, POSTBUS_TRANSIENT, POSTBUS_THROTTLED, POSTBUS_REJECTED_RECIPIENT,
                                  POSTBUS_REJECTED_MESSAGE, POSTBUS_UNSUPPORTED, POSTBUS_IN_DOUBT}) {
      EXPECT_FALSE(Note(outcome));
      EXPECT_EQ(breaker_.state(), Breaker::State::kClosed);
    }
  }
}

TEST_F(BreakerTest, AProviderFaultOpensItAndEachFailedProbeDoublesThePause) {
  EXPECT_TRUE(Note(POSTBUS_PROVIDER_FAULT));
  for (const int64_t pause : {1'000, 2'000, 4'000, 8'000, 8'000}) {
    EXPECT_EQ(breaker_.state(), Breaker::State::kOpen);
    EXPECT_FALSE(Allows());
    EXPECT_FALSE(Note(POSTBUS_PROVIDER_FAULT)) << "one that was on its way";
    EXPECT_EQ(Pause(), pause);
    now_ += pause;
    ASSERT_TRUE(Allows());
    breaker_.BeginProbe();
    EXPECT_FALSE(Allows()) << "one probe at a time";
    EXPECT_FALSE(Note(POSTBUS_PROVIDER_FAULT)) << "told once";
  }
}

TEST_F(BreakerTest, AGoodProbeClosesItAndForgets) {
  Note(POSTBUS_PROVIDER_FAULT);
  now_ += Pause();
  breaker_.BeginProbe();
  EXPECT_TRUE(Note(POSTBUS_REJECTED_RECIPIENT)) << "the provider talks of one mail again: it works";
  EXPECT_EQ(breaker_.state(), Breaker::State::kClosed);
  EXPECT_TRUE(Note(POSTBUS_PROVIDER_FAULT));
  EXPECT_EQ(Pause(), 1'000);
}

TEST_F(BreakerTest, AProbeTakenBackLeavesRoomForAnother) {
  Note(POSTBUS_PROVIDER_FAULT);
  now_ += Pause();
  breaker_.BeginProbe();
  breaker_.EndProbe(now_);
  EXPECT_EQ(breaker_.state(), Breaker::State::kOpen);
  EXPECT_TRUE(Allows());
}

TEST_F(BreakerTest, AProbeWithoutAnAnswerKeepsItOpen) {
  for (const int32_t outcome : {POSTBUS_NOT_SENT, POSTBUS_IN_DOUBT}) {
    Breaker breaker(kConfig);
    breaker.Note(POSTBUS_PROVIDER_FAULT, true, now_);
    breaker.BeginProbe();
    EXPECT_FALSE(breaker.Note(outcome, true, now_));
    EXPECT_EQ(breaker.state(), Breaker::State::kOpen);
    EXPECT_FALSE(breaker.Allows(now_ + 1'999));
    EXPECT_TRUE(breaker.Allows(now_ + 2'000));
  }
}

TEST_F(BreakerTest, ManyDifferentMailsInARowThatDidNotGetFarOpenIt) {
  for (int i = 0; i < 50; ++i) EXPECT_FALSE(Note(POSTBUS_NOT_SENT, /*first=*/false)) << "the same mail again";
  EXPECT_FALSE(Note(POSTBUS_NOT_SENT));
  EXPECT_FALSE(Note(POSTBUS_NOT_SENT));
  EXPECT_FALSE(Note(POSTBUS_TRANSIENT)) << "not in a row";
  EXPECT_FALSE(Note(POSTBUS_NOT_SENT));
  EXPECT_FALSE(Note(POSTBUS_NOT_SENT));
  EXPECT_TRUE(Note(POSTBUS_NOT_SENT));
  EXPECT_EQ(breaker_.state(), Breaker::State::kOpen);
}

}  // namespace
}  // namespace postbus
