#include "api/idempotency.h"

#include <gtest/gtest.h>

#include "event/email_event.h"

namespace postbus {
namespace {

// From Python: uuid.uuid5(uuid.UUID("68c9cd94-7108-46e7-b55b-0c62782fb258"), key). Ids must never change.
TEST(IdOfKey, IsTheKeysUuidV5) {
  EXPECT_EQ(IdOfKey("order-17"), "15c06afd-5e08-57f3-9f68-9850d5ffd646");
  EXPECT_EQ(IdOfKey("order-17", 0), "00868836-4563-579e-a016-7cc768696021");
  EXPECT_EQ(IdOfKey("order-17", 499), "6dec7892-54fc-5528-a188-dc9d0de32ccb");
  EXPECT_TRUE(IsValidId(IdOfKey("any key at all")));
}

TEST(DigestOf, IsSha256) {
  EXPECT_EQ(DigestOf("abc").substr(0, 4), "\xba\x78\x16\xbf");
  EXPECT_EQ(DigestOf("").size(), 32u);
}

TEST(IsIdempotencyKey, PrintableAscii) {
  for (const std::string& key : {std::string("k"), std::string("a b~!"), std::string(255, 'k')}) {
    EXPECT_TRUE(IsIdempotencyKey(key)) << key;
  }
  for (const std::string& key :
       {std::string(), std::string("a\nb"), std::string("\x7F"), std::string("\xC3\xA9"), std::string(256, 'k')}) {
    EXPECT_FALSE(IsIdempotencyKey(key)) << key;
  }
}

}  // namespace
}  // namespace postbus
