#include "event/text.h"

#include <gtest/gtest.h>

namespace postbus {
namespace {

TEST(Utf8Test, TakesExactlyWhatRfc3629Allows) {
  EXPECT_EQ(Utf8SequenceSize("a"), 1u);
  EXPECT_EQ(Utf8SequenceSize(std::string_view("\0", 1)), 1u);
  EXPECT_EQ(Utf8SequenceSize("\xC2\x80"), 2u);
  EXPECT_EQ(Utf8SequenceSize("\xE0\xA0\x80"), 3u);
  EXPECT_EQ(Utf8SequenceSize("\xED\x9F\xBF"), 3u);
  EXPECT_EQ(Utf8SequenceSize("\xEF\xBF\xBF"), 3u);
  EXPECT_EQ(Utf8SequenceSize("\xF0\x90\x80\x80"), 4u);
  EXPECT_EQ(Utf8SequenceSize("\xF4\x8F\xBF\xBF"), 4u);
  for (const std::string_view bad : {"",
                                     "\x80",
                                     "\xBF",
                                     "\xC0\x8A",
                                     "\xC1\xBF",
                                     "\xE0\x80\x8A",
                                     "\xE0\x9F\xBF",
                                     "\xF0\x80\x80\x8A",
                                     "\xF0\x8F\xBF\xBF",
                                     "\xED\xA0\x80",
                                     "\xED\xBF\xBF",
                                     "\xF4\x90\x80\x80",
                                     "\xF5\x80\x80\x80",
                                     "\xFF",
                                     "\xFE",
                                     "\xC2",
                                     "\xC2 ",
                                     "\xE2\x82",
                                     "\xE2\x82 ",
                                     "\xF0\x9F\x98",
                                     "\xF0\x9F\x98 "}) {
    EXPECT_EQ(Utf8SequenceSize(bad), 0u) << ::testing::PrintToString(bad);
  }
}

TEST(Utf8Test, AgreesWithTheEncoderOverAllCodePoints) {
  for (uint32_t point = 0; point <= 0x10FFFF; ++point) {
    std::string bytes;
    if (point < 0x80) {
      bytes = {static_cast<char>(point)};
    } else if (point < 0x800) {
      bytes = {static_cast<char>(0xC0 | (point >> 6)), static_cast<char>(0x80 | (point & 0x3F))};
    } else if (point < 0x10000) {
      bytes = {static_cast<char>(0xE0 | (point >> 12)), static_cast<char>(0x80 | ((point >> 6) & 0x3F)),
               static_cast<char>(0x80 | (point & 0x3F))};
    } else {
      bytes = {static_cast<char>(0xF0 | (point >> 18)), static_cast<char>(0x80 | ((point >> 12) & 0x3F)),
               static_cast<char>(0x80 | ((point >> 6) & 0x3F)), static_cast<char>(0x80 | (point & 0x3F))};
    }
    const bool surrogate = point >= 0xD800 && point <= 0xDFFF;
    ASSERT_EQ(Utf8SequenceSize(bytes), surrogate ? 0 : bytes.size()) << point;
    const bool control = point < 0x20 || (point >= 0x7F && point < 0xA0) || point == 0x2028 || point == 0x2029;
    ASSERT_EQ(!surrogate && IsControl(bytes), control) << point;
  }
}

TEST(QuotedTest, ShortTextStandsAsItIs) {
  EXPECT_EQ(Quoted("no-at-sign"), "\"no-at-sign\"");
  EXPECT_EQ(Quoted(""), "\"\"");
  EXPECT_EQ(Quoted(std::string(64, 'a')), "\"" + std::string(64, 'a') + "\"");
}

TEST(QuotedTest, IsCutBetweenCharacters) {
  EXPECT_EQ(Quoted(std::string(65, 'a')), "\"" + std::string(64, 'a') + "\"...");
  EXPECT_EQ(Quoted(std::string(63, 'a') + "\u00e4"), "\"" + std::string(63, 'a') + "\"...");
}

TEST(QuotedTest, NeverBreaksALine) {
  EXPECT_EQ(Quoted(std::string_view("a\r\nb\0c\x7F\u0085\u2028\xFFz", 14)), "\"a??b?c????z\"");
}

}  // namespace
}  // namespace postbus
