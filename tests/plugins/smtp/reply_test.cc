#include "plugins/smtp/reply.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace postbus::smtp {
namespace {

using Progress = ReplyParser::Progress;

struct Parsed {
  uint16_t code;
  std::array<uint16_t, 3> enhanced;
  std::string text;
  bool operator==(const Parsed&) const = default;
};

// All replies in `stream`, fed in pieces of `chunk` bytes; code 0 at the end: garbage.
std::vector<Parsed> ParseAll(std::string_view stream, size_t chunk) {
  ReplyParser parser;
  std::vector<Parsed> replies;
  while (!stream.empty()) {
    // A copy of its own, so that a view kept too long is found by AddressSanitizer.
    const std::string piece(stream.substr(0, chunk));
    stream.remove_prefix(piece.size());
    std::string_view input = piece;
    while (!input.empty()) {
      const Progress progress = parser.Feed(input);
      if (progress == Progress::kGarbage) {
        replies.push_back({});
        return replies;
      }
      if (progress == Progress::kReply) {
        const Reply& reply = parser.reply();
        replies.push_back({reply.code, reply.enhanced, std::string(reply.text)});
      }
    }
  }
  return replies;
}

void Expect(std::string_view stream, const std::vector<Parsed>& expected) {
  for (size_t chunk = 1; chunk <= stream.size(); ++chunk) {
    EXPECT_EQ(ParseAll(stream, chunk), expected) << "in pieces of " << chunk;
  }
}

TEST(ReplyParser, ReadsRepliesCutAnywhere) {
  Expect("220 mx.example.com ESMTP\r\n250-mx\r\n250-PIPELINING\r\n250 SIZE 1000\r\n250 2.1.0 Ok\r\n354 go\r\n",
         {{220, {}, "mx.example.com ESMTP"},
          {250, {}, "mx\nPIPELINING\nSIZE 1000"},
          {250, {2, 1, 0}, "Ok"},
          {354, {}, "go"}});
}

TEST(ReplyParser, ReadsShortFormsAndBareLineFeeds) {
  Expect("250\r\n250 \r\n250-\r\n250\r\n250 Ok\n", {{250, {}, ""}, {250, {}, ""}, {250, {}, "\n"}, {250, {}, "Ok"}});
}

TEST(ReplyParser, ReadsEnhancedCodesOfTheReplysOwnClassOnly) {
  Expect("550 5.1.1 no\r\n", {{550, {5, 1, 1}, "no"}});
  Expect("550 5.1.1\r\n", {{550, {5, 1, 1}, ""}});
  Expect("451 4.7.650 wait\r\n", {{451, {4, 7, 650}, "wait"}});
  Expect("550 2.1.1 no\r\n", {{550, {}, "2.1.1 no"}});
  Expect("550 5.1 no\r\n", {{550, {}, "5.1 no"}});
  Expect("550 5.1.1x no\r\n", {{550, {}, "5.1.1x no"}});
  Expect("550 5.1234.1 no\r\n", {{550, {}, "5.1234.1 no"}});
  Expect("550-5.7.1 a\r\n550 5.7.1 b\r\n", {{550, {5, 7, 1}, "a\nb"}});
}

TEST(ReplyParser, TellsGarbage) {
  for (const std::string_view stream :
       {"HTTP/1.1 400 Bad Request\r\n", "hello\r\n", "\r\n", "25\r\n", "250x\r\n", "150 no\r\n", "650 no\r\n",
        "2 50 no\r\n", "250-a\r\n251 b\r\n", "250-a\r\nb\r\n", "\x16\x03\x01"}) {
    Expect(stream, {{}});
  }
}

TEST(ReplyParser, TellsGarbageBeforeItsLineEnds) {
  ReplyParser parser;
  std::string_view input = "SSH-2.0";
  EXPECT_EQ(parser.Feed(input), Progress::kGarbage);
  input = "250 Ok\r\n";
  EXPECT_EQ(parser.Feed(input), Progress::kGarbage) << "it stays so";
}

TEST(ReplyParser, BoundsLinesAndReplies) {
  const std::string longest = "250 " + std::string(ReplyParser::kMaxLine - 5, 'x') + "\r\n";
  EXPECT_EQ(ParseAll(longest, 7).at(0).code, 250);
  EXPECT_EQ(ParseAll("250 " + std::string(ReplyParser::kMaxLine, 'x'), 100).at(0).code, 0);
  std::string lines;
  for (size_t i = 0; i < ReplyParser::kMaxLines - 1; ++i) lines += "250-x\r\n";
  EXPECT_EQ(ParseAll(lines + "250 x\r\n", 50).at(0).code, 250);
  EXPECT_EQ(ParseAll(lines + "250-x\r\n250 x\r\n", 50).at(0).code, 0);
  std::string text;
  for (size_t i = 0; i < 20; ++i) text += "250-" + std::string(1000, 'x') + "\r\n";
  EXPECT_EQ(ParseAll(text, 50).at(0).code, 0);
}

}  // namespace
}  // namespace postbus::smtp
