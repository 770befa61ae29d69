#include "host/claims.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "tests/host/fake_queue.h"

namespace postbus {
namespace {

std::vector<uint32_t> Take(Claims& claims, FakeQueue& queue) {
  std::vector<uint32_t> slots;
  claims.Take(queue, slots);
  std::sort(slots.begin(), slots.end());
  return slots;
}

TEST(Claims, NamesTheSlotsThatAskedOnceTheirClaimIsDurable) {
  FakeQueue queue;
  queue.HoldClaims();
  Claims claims;
  for (const uint32_t slot : {7u, 8u, 9u}) claims.Ask(queue, 100 + slot, slot);
  EXPECT_TRUE(Take(claims, queue).empty());
  std::vector<uint32_t> waiting;
  claims.AppendWaiting(waiting);
  EXPECT_EQ(waiting.size(), 3u);
  claims.Forget(108);
  queue.GrantClaims();
  EXPECT_EQ(Take(claims, queue), (std::vector<uint32_t>{7, 9})) << "nobody waits for turn 108 any more";
  EXPECT_TRUE(Take(claims, queue).empty());
  waiting.clear();
  claims.AppendWaiting(waiting);
  EXPECT_TRUE(waiting.empty());
}

TEST(Claims, ASlowTransportOrOneThatIsTriedClaimsFew) {
  EXPECT_EQ(Claims::MostAhead(false, 0), 256u);
  EXPECT_EQ(Claims::MostAhead(true, 0), 1u);
  EXPECT_EQ(Claims::MostAhead(false, 0.01), 1u);
  EXPECT_EQ(Claims::MostAhead(false, 100), 20u);
  EXPECT_EQ(Claims::MostAhead(false, 1e9), 256u);
}

}  // namespace
}  // namespace postbus
