#include "host/held_mails.h"

#include <gtest/gtest.h>

#include <vector>

namespace postbus {
namespace {

class HeldMailsTest : public testing::Test {
 protected:
  RateLimiter::DomainSlot Take(std::string_view domain, int64_t now) { return limiter_.TakeForDomain(domain, now); }
  int64_t Hold(std::string_view domain, uint32_t mail, Priority priority, int64_t now, int64_t longest = 30'000) {
    return held_.Hold(domain, Take(domain, now), mail, priority, longest, now);
  }
  std::vector<uint32_t> Released(int64_t now) {
    std::vector<uint32_t> released;
    held_.Release(
        now, [&](std::string_view domain) { return Take(domain, now); },
        [&](uint32_t mail) { released.push_back(mail); });
    return released;
  }

  RateLimiter limiter_{RateLimitConfig{.per_second = 0, .burst = 0, .per_domain = {{"*", 1, 1}}}};
  HeldMails held_;
};

TEST_F(HeldMailsTest, ReleasesOneASlotHighFirst) {
  EXPECT_EQ(held_.look_at_ms(), HeldMails::kNever);
  ASSERT_TRUE(Take("a.org", 0).taken);
  EXPECT_EQ(Hold("a.org", 1, Priority::kNormal, 0), 0);
  EXPECT_EQ(Hold("a.org", 2, Priority::kNormal, 0), 0);
  EXPECT_EQ(Hold("a.org", 3, Priority::kHigh, 0), 0);
  EXPECT_EQ(held_.look_at_ms(), 1'000);
  EXPECT_EQ(Released(999), std::vector<uint32_t>{});
  EXPECT_EQ(Released(1'000), std::vector<uint32_t>{3});
  EXPECT_EQ(Released(1'500), std::vector<uint32_t>{});
  EXPECT_EQ(Released(2'000), std::vector<uint32_t>{1});
  EXPECT_EQ(Released(3'000), std::vector<uint32_t>{2});
  EXPECT_EQ(held_.size(), 0u);
  EXPECT_EQ(held_.look_at_ms(), HeldMails::kNever);
}

TEST_F(HeldMailsTest, WhatWouldWaitForLongComesAgainAtASlotOfItsOwn) {
  ASSERT_TRUE(Take("a.org", 0).taken);
  for (uint32_t mail = 0; mail < 30; ++mail) ASSERT_EQ(Hold("a.org", mail, Priority::kNormal, 0), 0);
  EXPECT_EQ(Hold("a.org", 30, Priority::kNormal, 0), 31'000);
  EXPECT_EQ(Hold("a.org", 31, Priority::kNormal, 0), 32'000);
  EXPECT_EQ(Hold("a.org", 32, Priority::kHigh, 0), 0) << "it is the next here";
  ASSERT_TRUE(Take("b.org", 0).taken);
  EXPECT_EQ(Hold("b.org", 33, Priority::kNormal, 0), 0) << "another domain";
}

TEST_F(HeldMailsTest, ForgetsADomainWhoseMailsWereOnlyPutOff) {
  ASSERT_TRUE(Take("a.org", 0).taken);
  EXPECT_EQ(Hold("a.org", 1, Priority::kNormal, 0, /*longest=*/0), 1'000);
  EXPECT_EQ(Hold("a.org", 2, Priority::kNormal, 0, /*longest=*/0), 2'000);
  EXPECT_EQ(held_.domains(), 1u);
  EXPECT_EQ(Released(2'500), std::vector<uint32_t>{});
  EXPECT_EQ(held_.domains(), 1u) << "its next slot is known yet";
  const int64_t then = held_.look_at_ms();
  ASSERT_LE(then, 3'100);
  EXPECT_EQ(Released(then), std::vector<uint32_t>{});
  EXPECT_EQ(held_.domains(), 0u);
  EXPECT_EQ(held_.look_at_ms(), HeldMails::kNever);
}

TEST_F(HeldMailsTest, ErasesAndDrains) {
  ASSERT_TRUE(Take("a.org", 0).taken);
  Hold("a.org", 1, Priority::kNormal, 0);
  Hold("a.org", 2, Priority::kNormal, 0);
  EXPECT_TRUE(held_.Erase(1, Priority::kNormal));
  EXPECT_FALSE(held_.Erase(1, Priority::kNormal));
  std::vector<uint32_t> drained;
  held_.Drain([&](uint32_t mail) { drained.push_back(mail); });
  EXPECT_EQ(drained, std::vector<uint32_t>{2});
  EXPECT_EQ(held_.size(), 0u);
}

}  // namespace
}  // namespace postbus
