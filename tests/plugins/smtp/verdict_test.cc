#include "plugins/smtp/verdict.h"

#include <gtest/gtest.h>

#include <string>

#include "postbus/abi/outcome.h"
#include "tests/plugins/smtp/golden.h"

namespace postbus::smtp {
namespace {

using testing::OutcomeName;
using testing::PhaseName;

TEST(Verdict, IsAsTheGoldenFileHasIt) {
  struct Case {
    uint16_t code;
    std::array<uint16_t, 3> enhanced;
  };
  const std::vector<Case> cases = {
      {220, {}},         {221, {}},        {250, {2, 0, 0}}, {251, {2, 1, 5}},  {252, {}},        {334, {}},
      {354, {}},         {421, {}},        {421, {4, 7, 0}}, {421, {4, 3, 2}},  {450, {}},        {450, {4, 2, 1}},
      {450, {4, 7, 1}},  {451, {}},        {451, {4, 7, 1}}, {451, {4, 7, 28}}, {452, {}},        {452, {4, 2, 2}},
      {452, {4, 3, 1}},  {452, {4, 5, 3}}, {454, {4, 7, 0}}, {455, {}},         {500, {}},        {501, {}},
      {502, {}},         {503, {}},        {504, {}},        {521, {}},         {530, {5, 7, 0}}, {535, {5, 7, 8}},
      {538, {5, 7, 11}}, {550, {}},        {550, {5, 1, 1}}, {550, {5, 7, 1}},  {551, {}},        {552, {}},
      {552, {5, 2, 2}},  {552, {5, 3, 4}}, {552, {5, 5, 3}}, {553, {}},         {554, {}},        {554, {5, 7, 1}},
      {555, {}},         {556, {}},        {571, {}}};
  std::string table;
  for (const int32_t phase : {POSTBUS_PHASE_GREETING, POSTBUS_PHASE_EHLO, POSTBUS_PHASE_MAIL, POSTBUS_PHASE_RCPT,
                              POSTBUS_PHASE_DATA, POSTBUS_PHASE_BODY, POSTBUS_PHASE_FINAL_DOT}) {
    for (const Case& c : cases) {
      Reply reply;
      reply.code = c.code;
      reply.enhanced = c.enhanced;
      const int32_t outcome = OutcomeOfReply(phase, reply);
      char line[128];
      std::snprintf(line, sizeof line, "%-9s  %u %u.%u.%-3u %s\n", PhaseName(phase), c.code, c.enhanced[0],
                    c.enhanced[1], c.enhanced[2], outcome == 0 ? "(out of step)" : OutcomeName(outcome));
      table += line;
    }
    char line[128];
    std::snprintf(line, sizeof line, "%-9s  (no reply)  %s\n", PhaseName(phase), OutcomeName(OutcomeOfLoss(phase)));
    table += line;
  }
  testing::ExpectGolden("verdicts.golden", table);
}

std::string Words(std::string_view text) {
  std::string out;
  AppendWords(text, out);
  return out;
}

TEST(AppendWords, LeavesNoAddress) {
  EXPECT_EQ(Words("<bob@x.org>: Recipient address rejected"), "<address> Recipient address rejected");
  EXPECT_EQ(Words("no such user bob@x.org here"), "no such user <address> here");
  EXPECT_EQ(Words("user (bob@x.org), <al@y>; gone"), "user <address> <address> gone");
  EXPECT_EQ(Words("to=<\"a b\"@x.org> unknown"), "<address> unknown");
  EXPECT_EQ(Words("mailto:bob@x.org"), "<address>");
  EXPECT_EQ(Words("b\xC3\xBC@x.org!"), "<address>");
  EXPECT_EQ(Words("a < b and c > d"), "a < b and c > d");
}

TEST(AppendWords, MakesOneLineOfValidText) {
  EXPECT_EQ(Words("one\ntwo\n\nthree\t four"), "one two three four");
  EXPECT_EQ(Words("bell\x07 esc\x1b[31m del\x7f"), "bell? esc?[31m del?");
  EXPECT_EQ(Words("gr\xC3\xBC\xC3\x9F"
                  "e \xFF\xC3 \xC2\x85 \xED\xA0\x80"),
            "gr\xC3\xBC\xC3\x9F"
            "e ?? ? ???");
  const std::string cut = Words(std::string(511, 'x') + "\xC3\xBC");
  EXPECT_EQ(cut, std::string(511, 'x')) << "not in the middle of a character";
  EXPECT_LE(Words(std::string(100'000, 'x')).size(), 512u);
  EXPECT_LE(Words(std::string(510, 'x') + " a@b").size(), 512u);
  for (size_t size = 505; size <= 513; ++size) {
    for (const char* next : {" y", " yyyyyyyyyy", " a@b", " \xC3\xBC", "\xFF\xFF\xFF"}) {
      const std::string words = Words(std::string(size, 'x') + next);
      EXPECT_LE(words.size(), 512u) << size << next;
      EXPECT_NE(words.back(), ' ') << size << next;
    }
  }
}

TEST(ProviderId, IsFoundInCommonForms) {
  EXPECT_EQ(ProviderId("Ok: queued as 4F2A1C"), "4F2A1C");
  EXPECT_EQ(ProviderId("Ok: Queued as 4WQlBz3xk9z1."), "4WQlBz3xk9z1");
  EXPECT_EQ(ProviderId("OK id=1rVbXK-0004Gm-2d"), "1rVbXK-0004Gm-2d");
  EXPECT_EQ(ProviderId("OK ids=cba2c1d0a1f811eea2b1"), "cba2c1d0a1f811eea2b1");
  EXPECT_EQ(ProviderId("Message Queued (550E8400-E29B.1)"), "550E8400-E29B.1");
  EXPECT_EQ(ProviderId("<address> [InternalId=12345, Hostname=X.example] Queued mail for delivery"), "12345");
  EXPECT_EQ(ProviderId("41DBkqT3012345 Message accepted for delivery"), "41DBkqT3012345");
  EXPECT_EQ(ProviderId("Ok 0100018d2f3c4b5a-6e7f-000000"), "0100018d2f3c4b5a-6e7f-000000");
}

TEST(ProviderId, IsNotInvented) {
  for (const std::string_view text :
       {"Ok", "Ok: queued", "Ok: queued as ", "queued as spam", "queued as 4F2@example.org", "message accepted",
        "your message accepted", "Ok thanks", "id=", ""}) {
    EXPECT_EQ(ProviderId(text), "") << text;
  }
  EXPECT_EQ(ProviderId("queued as " + std::string(200, '7')), "");
}

}  // namespace
}  // namespace postbus::smtp
