#include "host/ready_queue.h"

#include <gtest/gtest.h>

#include <array>
#include <vector>

namespace postbus {
namespace {

TEST(ReadyQueueTest, FirstInFirstOutWithinAPriority) {
  ReadyQueue queue;
  for (uint32_t i = 0; i < 5; ++i) queue.Push(i, Priority::kLow);
  for (uint32_t i = 0; i < 5; ++i) EXPECT_EQ(queue.Pop(), i);
  EXPECT_TRUE(queue.empty());
}

TEST(ReadyQueueTest, AHighOneOvertakesABacklogOfLowOnes) {
  ReadyQueue queue;
  for (uint32_t i = 0; i < 1'000; ++i) queue.Push(i, Priority::kLow);
  for (int i = 0; i < 100; ++i) queue.Pop();
  queue.Push(5'000, Priority::kHigh);
  EXPECT_EQ(queue.Pop(), 5'000u);
}

TEST(ReadyQueueTest, TheWeightsAre70And25And5AndNobodyStarves) {
  ReadyQueue queue;
  for (uint32_t i = 0; i < 300; ++i) {
    for (const Priority priority : {Priority::kHigh, Priority::kNormal, Priority::kLow}) {
      queue.Push(static_cast<uint32_t>(priority), priority);
    }
  }
  std::array<int, kPriorities> popped{};
  for (int i = 0; i < 100; ++i) ++popped[queue.Pop()];
  EXPECT_EQ(popped, (std::array<int, kPriorities>{70, 25, 5}));
}

TEST(ReadyQueueTest, PutsBackAndErases) {
  ReadyQueue queue;
  queue.Push(1, Priority::kNormal);
  queue.Push(2, Priority::kNormal);
  const uint32_t first = queue.Pop();
  queue.PushFront(first, Priority::kNormal);
  EXPECT_FALSE(queue.Erase(2, Priority::kHigh));
  EXPECT_TRUE(queue.Erase(2, Priority::kNormal));
  EXPECT_EQ(queue.size(), 1u);
  EXPECT_EQ(queue.Pop(Priority::kNormal), 1u);
}

TEST(ReadyQueueTest, DrainsHighOnesFirst) {
  ReadyQueue queue;
  queue.Push(1, Priority::kLow);
  queue.Push(2, Priority::kHigh);
  std::vector<uint32_t> drained;
  queue.Drain([&](uint32_t slot) { drained.push_back(slot); });
  EXPECT_EQ(drained, (std::vector<uint32_t>{2, 1}));
  EXPECT_TRUE(queue.empty());
}

}  // namespace
}  // namespace postbus
