#include "queue/cancellations.h"

#include <gtest/gtest.h>

#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "event/clock.h"

namespace postbus {
namespace {

std::string IdOf(int number) { return "id-" + std::to_string(number); }

TEST(Cancellations, NoneIsThereAtFirst) {
  const Cancellations cancellations;
  EXPECT_FALSE(cancellations.Contains("id-1"));
  EXPECT_FALSE(cancellations.Contains(""));
  EXPECT_EQ(cancellations.added(), 0u);
  EXPECT_EQ(cancellations.size(), 0u);
}

TEST(Cancellations, ContainsWhatWasAddedAndNothingElse) {
  Cancellations cancellations;
  const int64_t now = UnixTimeMs();
  constexpr int kMany = 100'000;  // many times over the size it begins with
  for (int i = 0; i < kMany; ++i) cancellations.Add(IdOf(i), now);
  EXPECT_EQ(cancellations.size(), static_cast<size_t>(kMany));
  for (int i = 0; i < kMany; ++i) ASSERT_TRUE(cancellations.Contains(IdOf(i))) << i;
  for (int i = kMany; i < 2 * kMany; ++i) ASSERT_FALSE(cancellations.Contains(IdOf(i))) << i;
}

// Lengths around the words a hash is made of, and ids that differ in one place only.
TEST(Cancellations, TellsIdsOfAllLengthsApart) {
  Cancellations cancellations;
  std::vector<std::string> ids;
  for (size_t size = 1; size <= 128; ++size) {
    ids.emplace_back(size, 'x');
    ids.push_back(std::string(size - 1, 'x') + 'y');
    ids.push_back('y' + std::string(size, 'x'));
  }
  for (size_t i = 0; i < ids.size(); ++i) {
    ASSERT_FALSE(cancellations.Contains(ids[i])) << ids[i];
    cancellations.Add(ids[i], UnixTimeMs());
    ASSERT_TRUE(cancellations.Contains(ids[i])) << ids[i];
  }
}

TEST(Cancellations, TellsWhenItWasRequestedLast) {
  Cancellations cancellations;
  const int64_t now = UnixTimeMs();
  EXPECT_EQ(cancellations.RequestedAt("a"), 0);
  cancellations.Add("a", now - 1000);
  EXPECT_EQ(cancellations.RequestedAt("a"), now - 1000);
  cancellations.Add("a", now);
  cancellations.Add("a", now - 2000);  // it comes out of order
  EXPECT_EQ(cancellations.RequestedAt("a"), now);
  EXPECT_EQ(cancellations.RequestedAt("b"), 0);
}

TEST(Cancellations, ARepeatedOneIsNoNews) {
  Cancellations cancellations;
  cancellations.Add("a", UnixTimeMs());
  const uint64_t added = cancellations.added();
  cancellations.Add("a", UnixTimeMs());
  EXPECT_EQ(cancellations.added(), added);
  EXPECT_EQ(cancellations.size(), 1u);
  cancellations.Add("b", UnixTimeMs());
  EXPECT_NE(cancellations.added(), added);
}

TEST(Cancellations, OldOnesAreForgottenAndYoungOnesKept) {
  Cancellations cancellations;
  const int64_t oldest = UnixTimeMs() - Cancellations::kKeptMs;
  cancellations.Add("too old", oldest - 1000);
  EXPECT_FALSE(cancellations.Contains("too old"));
  cancellations.Add("old", oldest + 200);
  cancellations.Add("renewed", oldest + 200);
  cancellations.Add("renewed", UnixTimeMs());
  cancellations.Add("without a time", 0);
  EXPECT_TRUE(cancellations.Contains("old"));
  while (UnixTimeMs() - Cancellations::kKeptMs <= oldest + 200) std::this_thread::yield();
  int young = 0;
  for (; cancellations.Contains("old"); ++young) {
    ASSERT_LT(young, 100) << "room is made after so many";
    cancellations.Add(IdOf(young), UnixTimeMs());
  }
  EXPECT_TRUE(cancellations.Contains("renewed"));
  EXPECT_TRUE(cancellations.Contains("without a time"));
  for (int i = 0; i < young; ++i) EXPECT_TRUE(cancellations.Contains(IdOf(i))) << i;
  EXPECT_EQ(cancellations.size(), static_cast<size_t>(young) + 2);
}

// Worth its name under TSan.
TEST(Cancellations, ThreadsAskWhileOneAdds) {
  Cancellations cancellations;
  constexpr int kMany = 20'000;
  std::atomic<int> added{0};
  std::vector<std::thread> askers;
  for (int t = 0; t < 3; ++t) {
    askers.emplace_back([&] {
      for (int known = 0; known < kMany; known = added.load()) {
        if (known > 0) {
          ASSERT_TRUE(cancellations.Contains(IdOf(known - 1)));
        }
        ASSERT_FALSE(cancellations.Contains("another"));
      }
    });
  }
  for (int i = 0; i < kMany; ++i) {
    cancellations.Add(IdOf(i), UnixTimeMs());
    added.store(i + 1);
  }
  for (std::thread& asker : askers) asker.join();
}

}  // namespace
}  // namespace postbus
