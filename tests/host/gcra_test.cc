#include "host/gcra.h"

#include <gtest/gtest.h>

#include <random>
#include <vector>

namespace postbus {
namespace {

TEST(GcraTest, ABurstGoesAtOnceThenOneAnInterval) {
  Gcra gcra(10, 3);
  EXPECT_EQ(gcra.Take(5, 1'000), 3u);
  EXPECT_EQ(gcra.Take(5, 1'099), 0u);
  EXPECT_EQ(gcra.FreeAtMs(), 1'100);
  EXPECT_EQ(gcra.Take(5, 1'100), 1u);
  EXPECT_EQ(gcra.Take(5, 1'300), 2u);
  EXPECT_EQ(gcra.Take(5, 100'000), 3u) << "no more is saved up than a burst";
}

TEST(GcraTest, WhatIsGivenBackCanBeTakenAgain) {
  Gcra gcra(1, 4);
  EXPECT_EQ(gcra.Take(4, 0), 4u);
  gcra.GiveBack(3);
  EXPECT_EQ(gcra.Take(4, 0), 3u);
}

TEST(GcraTest, NoneGoesBeforeAHold) {
  Gcra gcra(1'000, 10);
  gcra.HoldUntil(5'000);
  EXPECT_EQ(gcra.Take(1, 4'999), 0u);
  EXPECT_EQ(gcra.Take(20, 5'000), 1u) << "and then not a burst";
}

// In no span of time more than burst + rate x time; and whoever asks all the time gets the whole rate.
TEST(GcraTest, WhatIsGivenBackDoesNotShortenAHold) {
  Gcra gcra(100, 100);
  ASSERT_EQ(gcra.Take(64, 1'000), 64u);
  gcra.HoldUntil(5'000);
  gcra.GiveBack(54);
  EXPECT_EQ(gcra.Take(1, 4'999), 0u);
  EXPECT_EQ(gcra.FreeAtMs(), 5'000);
  EXPECT_GT(gcra.Take(1, 5'000), 0u);
}

TEST(GcraTest, PropertyNeverTooManyNeverTooFew) {
  for (unsigned seed = 0; seed < 200; ++seed) {
    std::mt19937 random(seed);
    const double per_second = std::uniform_real_distribution<>(0.5, 2'000)(random);
    const double burst = std::uniform_int_distribution<>(1, 50)(random);
    Gcra gcra(per_second, burst);
    std::vector<int64_t> sent;
    const bool greedy = seed % 2 == 0 && per_second < 1'000;
    int64_t now = 1'000'000;
    for (int i = 0; i < 2'000; ++i) {
      now += greedy ? 1 : std::uniform_int_distribution<>(0, 40)(random);
      const auto wanted = std::uniform_int_distribution<size_t>(greedy ? 10 : 0, 10)(random);
      const size_t taken = gcra.Take(wanted, now);
      ASSERT_LE(taken, wanted);
      ASSERT_TRUE(taken == wanted || gcra.FreeAtMs() > now || taken < wanted) << seed;
      if (taken < wanted) {
        ASSERT_GT(gcra.FreeAtMs(), now) << seed;
      }
      sent.insert(sent.end(), taken, now);
    }
    for (size_t begin = 0; begin < sent.size(); ++begin) {
      for (size_t end = begin; end < sent.size(); end += 1 + end / 16) {
        const double seconds = static_cast<double>(sent[end] - sent[begin]) / 1000;
        ASSERT_LE(static_cast<double>(end - begin + 1), burst + seconds * per_second + 1e-3) << "seed " << seed;
      }
    }
    if (greedy) {
      ASSERT_GE(static_cast<double>(sent.size()), burst + 1.999 * per_second - 2) << "seed " << seed;
    }
  }
}

}  // namespace
}  // namespace postbus
