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

std::string Key(std::string_view id, RecipientSet due, size_t n_recipients, int replay) {
  std::string storage;
  return std::string(IdempotencyKey(id, due, n_recipients, replay, storage));
}

TEST(IdempotencyKeyTest, IsTheSameForTheSameRecipients) {
  EXPECT_EQ(Key("a-1", RecipientSet::All(2), 2, 0), "a-1");
  EXPECT_EQ(Key("a-1", Of({0, 1}), 2, 0), "a-1");
  EXPECT_EQ(Key("a-1", Of({1}), 2, 0), Key("a-1", Of({1}), 2, 0));
}

// Else the provider would take the rest of a mail, or a replayed one, for a copy and drop it.
TEST(IdempotencyKeyTest, IsAnotherForOthers) {
  const std::set<std::string> keys = {Key("a-1", RecipientSet::All(3), 3, 0), Key("a-1", Of({0}), 3, 0),
                                      Key("a-1", Of({1, 2}), 3, 0),           Key("a-1", RecipientSet::All(3), 3, 1),
                                      Key("a-1", RecipientSet::All(3), 3, 2), Key("a-1", Of({0}), 3, 1),
                                      Key("a-2", RecipientSet::All(3), 3, 0)};
  EXPECT_EQ(keys.size(), 7u);
}

}  // namespace
}  // namespace postbus
