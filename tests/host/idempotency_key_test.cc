#include "host/idempotency_key.h"

#include <gtest/gtest.h>

#include <set>

namespace postbus {
namespace {

RecipientSet Of(std::initializer_list<size_t> indexes) {
  RecipientSet set;
  for (const size_t index : indexes) set.insert(index);
  return set;
}

TEST(IdempotencyKeyTest, IsTheSameForTheSameRecipients) {
  EXPECT_EQ(IdempotencyKey("a-1", RecipientSet::All(2), 2, 0), "a-1");
  EXPECT_EQ(IdempotencyKey("a-1", Of({0, 1}), 2, 0), "a-1");
  EXPECT_EQ(IdempotencyKey("a-1", Of({1}), 2, 0), IdempotencyKey("a-1", Of({1}), 2, 0));
}

// Else the provider would take the rest of a mail, or a replayed one, for a copy and drop it.
TEST(IdempotencyKeyTest, IsAnotherForOthers) {
  const std::set<std::string> keys = {
      IdempotencyKey("a-1", RecipientSet::All(3), 3, 0), IdempotencyKey("a-1", Of({0}), 3, 0),
      IdempotencyKey("a-1", Of({1, 2}), 3, 0),           IdempotencyKey("a-1", RecipientSet::All(3), 3, 1),
      IdempotencyKey("a-1", RecipientSet::All(3), 3, 2), IdempotencyKey("a-1", Of({0}), 3, 1),
      IdempotencyKey("a-2", RecipientSet::All(3), 3, 0)};
  EXPECT_EQ(keys.size(), 7u);
}

}  // namespace
}  // namespace postbus
