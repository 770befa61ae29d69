#include "plugins/smtp/dot_stuffing.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/plugins/smtp/golden.h"

namespace postbus::smtp {
namespace {

// The bytes that go to the server, taken in steps of `step` bytes of `raw`.
std::string Stuff(std::string_view raw, size_t step) {
  bool dot_lines = false;
  if (RawProblem(raw, dot_lines) != nullptr) return "(refused)";
  DotStuffer stuffer(raw, dot_lines);
  std::string out;
  for (size_t limit = 0; limit < raw.size();) {
    limit = std::min(limit + step, raw.size());
    for (std::string_view piece = stuffer.Next(limit); !piece.empty(); piece = stuffer.Next(limit)) out += piece;
  }
  out += Terminator(raw);
  return out;
}

std::string Escaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '\r') {
      out += "\\r";
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '\0') {
      out += "\\0";
    } else {
      out += c;
    }
  }
  return out;
}

const std::vector<std::string> kMails = {
    "a\r\n",
    "a",
    ".",
    ".\r\n",
    "..\r\n",
    "...\r\n.\r\n",
    "a.b\r\n",
    "a\r\n.\r\nb\r\n",
    "a\r\n..\r\nb\r\n",
    "a\r\n.b\r\n.c\r\n",
    "a\r\n.\r\n.\r\n.\r\n",
    "a\r\n.",
    "a\r\n\r\n.\r\n",
    "\r\n",
    "\r\n.\r\n",
    "\r\n.\r\nMAIL FROM:<x>\r\n",
};

TEST(DotStuffing, WritesWhatTheGoldenFileHas) {
  std::string table;
  for (const std::string& raw : kMails) table += Escaped(raw) + "  ->  " + Escaped(Stuff(raw, raw.size())) + "\n";
  testing::ExpectGolden("dot_stuffing.golden", table);
}

TEST(DotStuffing, IsTheSameWhereverThePiecesEnd) {
  for (const std::string& raw : kMails) {
    for (size_t step = 1; step < raw.size(); ++step)
      EXPECT_EQ(Stuff(raw, step), Stuff(raw, raw.size())) << Escaped(raw);
  }
}

TEST(DotStuffing, IsUndoneByAServer) {
  for (const std::string& raw : kMails) {
    const std::string wire = Stuff(raw, 3);
    std::string got;
    size_t at = 0;
    while (true) {  // RFC 5321 4.5.2
      const size_t end = wire.find("\r\n", at);
      ASSERT_NE(end, std::string::npos);
      std::string line = wire.substr(at, end - at);
      at = end + 2;
      if (line == ".") break;
      if (line.starts_with('.')) line.erase(0, 1);
      got += line + "\r\n";
    }
    EXPECT_EQ(at, wire.size()) << "something stands behind the end of the mail";
    EXPECT_EQ(got, raw.ends_with("\r\n") ? raw : raw + "\r\n") << Escaped(raw);
  }
}

TEST(DotStuffing, CopiesNothingWhereNoLineBeginsWithADot) {
  const std::string raw = "a.b\r\nc\r\n";
  bool dot_lines = true;
  ASSERT_EQ(RawProblem(raw, dot_lines), nullptr);
  EXPECT_FALSE(dot_lines);
  DotStuffer stuffer(raw, dot_lines);
  const std::string_view piece = stuffer.Next(raw.size());
  EXPECT_EQ(piece.data(), raw.data());
  EXPECT_EQ(piece.size(), raw.size());
}

// By the definition, byte for byte.
bool IsCanonical(std::string_view raw) {
  for (size_t i = 0; i < raw.size(); ++i) {
    if (raw[i] == '\0') return false;
    if (raw[i] == '\r' && (i + 1 == raw.size() || raw[i + 1] != '\n')) return false;
    if (raw[i] == '\n' && (i == 0 || raw[i - 1] != '\r')) return false;
  }
  return !raw.empty();
}

TEST(RawProblem, FindsEveryByteWhereverItStands) {
  std::string lines;
  while (lines.size() < 200) lines += "line " + std::to_string(lines.size()) + "\r\n";
  bool dot_lines = true;
  ASSERT_EQ(RawProblem(lines, dot_lines), nullptr);
  EXPECT_FALSE(dot_lines);
  for (size_t at = 0; at < lines.size(); ++at) {
    for (const char c : {'\0', '\r', '\n', '.'}) {
      std::string raw = lines;
      raw[at] = c;
      EXPECT_EQ(RawProblem(raw, dot_lines) == nullptr, IsCanonical(raw)) << at << " " << Escaped(raw);
      if (c == '.' && IsCanonical(raw)) {
        EXPECT_EQ(dot_lines, at == 0 || raw[at - 1] == '\n') << at;
      }
    }
  }
}

TEST(RawProblem, RefusesWhatIsNotCanonical) {
  using std::string_literals::operator""s;
  for (const std::string& raw : {""s, "\n"s, "\r"s, "a\nb\r\n"s, "a\rb\r\n"s, "a\r\r\nb\r\n"s, "a\n\r\nb\r\n"s, "a\r"s,
                                 "a\r\n\r"s, "a\r\n\n"s, "a\0b\r\n"s, "\0"s, "a\n.\r\n"s, "a\r\n.\n"s, "a\r\n.\r"s}) {
    bool dot_lines = false;
    EXPECT_NE(RawProblem(raw, dot_lines), nullptr) << Escaped(raw);
  }
}

}  // namespace
}  // namespace postbus::smtp
