#include "api/json_array.h"

#include <gtest/gtest.h>

namespace postbus {
namespace {

using Elements = std::vector<std::string_view>;

TEST(SplitJsonArray, GivesItsElements) {
  EXPECT_EQ(SplitJsonArray(" [ ] \n"), Elements{});
  EXPECT_EQ(SplitJsonArray("[1]"), Elements{"1"});
  EXPECT_EQ(SplitJsonArray("[ {\"a\":[1,2]} ,\t\"x\" , [{},[]],null ]"),
            (Elements{"{\"a\":[1,2]}", "\"x\"", "[{},[]]", "null"}));
}

TEST(SplitJsonArray, StringsHideWhatIsInThem) {
  EXPECT_EQ(SplitJsonArray(R"(["],[", "\"],", "\\", {"k":"}"}])"),
            (Elements{R"("],[")", R"("\"],")", R"("\\")", R"({"k":"}"})"}));
}

TEST(SplitJsonArray, WhatIsNone) {
  for (const std::string_view text : {"", " ", "[", "]", "{}", "1", "[1", "1]", "[,]", "[1,]", "[,1]", "[1,,2]", "[1]]",
                                      "[1][2]", "[1],[2]", "[{]", "[\"]", "[\"\\\"]", "[1]x"}) {
    EXPECT_EQ(SplitJsonArray(text), std::nullopt) << text;
  }
}

}  // namespace
}  // namespace postbus
