#include "host/redact.h"

#include <gtest/gtest.h>

namespace postbus {
namespace {

TEST(Redact, ReplacesEveryWordWithAnAt) {
  EXPECT_EQ(Redacted("550 5.1.1 <ada@example.com>: Recipient address rejected"),
            "550 5.1.1 <address>: Recipient address rejected");
  EXPECT_EQ(Redacted("ada@example.com unknown, try bob@x.org."), "<address> unknown, try <address>");
  EXPECT_EQ(Redacted("\"no-at-sign\" is not an address"), "\"no-at-sign\" is not an address");
  EXPECT_EQ(Redacted("to:jörg@münchen.example(busy)"), "<address>(busy)");
}

TEST(Redact, MakesControlCharactersSpaces) {
  EXPECT_EQ(Redacted(std::string_view("a\r\nb\0c\x7f"
                                      "d",
                                      8)),
            "a  b c d");
}

TEST(Redact, CutsAtACharacterBoundary) {
  EXPECT_EQ(Redacted("aää", 3), "aä");
  EXPECT_EQ(Redacted("aää", 4), "aä");
  EXPECT_EQ(Redacted("aää", 5), "aää");
  EXPECT_LE(Redacted(std::string(100'000, 'x')).size(), 512u);
}

}  // namespace
}  // namespace postbus
