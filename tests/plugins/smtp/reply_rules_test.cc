#include "plugins/smtp/reply_rules.h"

#include <gtest/gtest.h>

#include <stdexcept>
#include <string>
#include <vector>

#include "postbus/abi/outcome.h"
#include "tests/plugins/smtp/golden.h"

namespace postbus::smtp {
namespace {

Reply Parsed(ReplyParser& parser, std::string_view lines) {
  EXPECT_EQ(parser.Feed(lines), ReplyParser::Progress::kReply);
  return parser.reply();
}

std::string Found(const ReplyRules& rules, std::string_view lines) {
  ReplyParser parser;
  const Judgement judgement = rules.Find(Parsed(parser, lines));
  std::string found = testing::OutcomeName(judgement.outcome);
  if (judgement.retry_after_ms != 0) found += " " + std::to_string(judgement.retry_after_ms);
  return found;
}

ReplyRules Rules(const std::vector<std::string>& rules, std::string_view preset = "none") { return {rules, preset}; }

TEST(ReplyRules, KnowMailtrapsLimits) {
  const std::string connections = "535 5.7.8 Too many connections per account\r\n";
  const std::string rate = "550 5.7.0 Requested action not taken: too many emails per second\r\n";
  EXPECT_EQ(Found(Rules({}, "mailtrap"), connections), "THROTTLED");
  EXPECT_EQ(Found(Rules({}, "mailtrap"), rate), "THROTTLED 1000");
  EXPECT_EQ(Found(Rules({}, "mailtrap"), "535 5.7.8 Authentication failed\r\n"), "-");
  EXPECT_EQ(Found(Rules({}, "mailtrap"), "550 5.7.0 spam\r\n"), "-");
  EXPECT_EQ(Found(Rules({}), connections), "-") << "elsewhere it is what it says";
  EXPECT_EQ(Found(Rules({}), rate), "-");
}

TEST(ReplyRules, KnowWhatSaysItselfThatItIsTooFast) {
  for (const char* reply :
       {"421 4.7.0 mx.example Error: too many connections from 192.0.2.1\r\n",
        "450 4.7.1 Error: too much mail from 192.0.2.1\r\n", "450 4.7.1 Error: too many recipients from 192.0.2.1\r\n",
        "421 4.7.28 unusual rate of mail\r\n",
        "421-4.7.0 Our system has detected\r\n421 4.7.0 that you hit a rate limit\r\n",
        "454 Throttling failure: Maximum sending rate exceeded.\r\n",
        "432 4.3.2 STOREDRV.ClientSubmit; sender thread limit exceeded\r\n"}) {
    EXPECT_EQ(Found(ReplyRules(), reply), "THROTTLED") << reply;
  }
  for (const char* reply : {"450 4.7.1 Greylisted, come again\r\n", "451 4.7.1 later\r\n", "450 4.2.1 busy\r\n",
                            "452 4.5.3 too many recipients\r\n", "421 4.3.2 closing\r\n", "550 5.7.1 too many lies\r\n",
                            "454 4.7.0 TLS not available\r\n", "250 2.0.0 too many thanks\r\n"}) {
    EXPECT_EQ(Found(ReplyRules(), reply), "-") << reply;
  }
}

TEST(ReplyRules, AreTheOperatorsFirst) {
  const ReplyRules rules = Rules({"550 5.7.1 *quota -> throttled 10m", "421 -> provider_fault 30s", "45? -> transient",
                                  "552->rejected", "535 5.7.8 too many -> transient"},
                                 "mailtrap");
  EXPECT_EQ(Found(rules, "550 5.7.1 Your Daily QUOTA is used up\r\n"), "THROTTLED 600000");
  EXPECT_EQ(Found(rules, "550 5.7.1 spam\r\n"), "-");
  EXPECT_EQ(Found(rules, "421 whatever\r\n"), "PROVIDER_FAULT 30000");
  EXPECT_EQ(Found(rules, "450 4.7.1 too much mail\r\n"), "TRANSIENT");
  EXPECT_EQ(Found(rules, "552 5.3.4 big\r\n"), "REJECTED_MESSAGE");
  EXPECT_EQ(Found(rules, "535 5.7.8 Too many connections\r\n"), "TRANSIENT");
  EXPECT_EQ(Found(rules, "535-5.7.8 Too many\r\n535 5.7.8 connections\r\n"), "TRANSIENT");
  EXPECT_EQ(Found(Rules({"5* a*b*c -> transient"}), "550 xx a-aab-b-c!\r\n"), "TRANSIENT");
  EXPECT_EQ(Found(Rules({"5* a*b*c -> transient"}), "550 xx a-aab-b-d!\r\n"), "-");
}

TEST(ReplyRules, SayWhatIsWrongWithOne) {
  for (const auto& [rule, problem] : std::vector<std::pair<std::string, std::string>>{
           {"421 throttled", "has no \"->\""},
           {"-> throttled", "does not begin with a reply code from 400 to 599"},
           {"250 fine -> throttled", "does not begin with a reply code from 400 to 599"},
           {"421 -> accepted", "has an outcome other than throttled, transient, rejected, provider_fault"},
           {"421 -> throttled soon", "has no duration like 30s behind its outcome"},
           {"421 -> throttled 30", "has no duration like 30s behind its outcome"},
           {"421 -> throttled 99999999h", "has no duration like 30s behind its outcome"},
           {"550 -> rejected 30s", "has a duration, but what is rejected does not come again"}}) {
    try {
      Rules({rule});
      ADD_FAILURE() << rule;
    } catch (const std::runtime_error& error) {
      EXPECT_EQ(error.what(), "reply_rules: \"" + rule + "\" " + problem +
                                  "; a rule is like \"451 4.7.1 *slow down -> throttled 30s\"");
    }
  }
}

}  // namespace
}  // namespace postbus::smtp
