#include "postbus/plugin.hpp"

#include <gtest/gtest.h>

#include "postbus/testing/fake_host.hpp"

namespace postbus::sdk {
namespace {

using testing::FakeHost;
using testing::FakeOptions;

enum class Key { kHost, kPort, kVerify, kTimeout, kLimit, kTls, kFile, kTags };

constexpr std::array kTable = {StringOption("host", "Its name.").Required(),
                               IntegerOption("port", "Its port.").Default("25").Range(1, 65535).Unit("port"),
                               BooleanOption("verify", "Whether to look."),
                               DurationOption("timeout", "How long.").Default("30s"),
                               SizeOption("limit", "How much.").Default("10MiB"),
                               EnumOption("tls", "starttls|none", "Which way.").Default("none"),
                               PathOption("file", "Where."),
                               ListOption("tags", "Which.").Secret()};

TEST(OptionTest, TableIsConstantData) {
  static_assert(View(kTable[1].name) == "port");
  static_assert(View(kTable[1].unit) == "port");
  static_assert(kTable[1].maximum == 65535);
  static_assert(kTable[0].flags == POSTBUS_OPTION_REQUIRED);
  static_assert(kTable[7].flags == POSTBUS_OPTION_SECRET);
  static_assert(View(kTable[2].default_value) == "false");
  static_assert(View(kTable[5].choices) == "starttls|none");
  static_assert(kOptionPointers<kTable>[3] == &kTable[3]);
}

TEST(OptionsTest, ReadsEveryTypeByNameAndByNumber) {
  const FakeOptions fake(kTable, {{"host", "mx"},
                                  {"port", 2525},
                                  {"verify", 1},
                                  {"timeout", 1500},
                                  {"limit", 4096},
                                  {"tls", "starttls"},
                                  {"file", "/etc/x"},
                                  {"tags", std::vector<std::string>{"a", "b"}}});
  const Options options = fake.options();
  EXPECT_EQ(options.String("host"), "mx");
  EXPECT_EQ(options.String(Key::kHost), "mx");
  EXPECT_EQ(options.Integer("port"), 2525);
  EXPECT_EQ(options.Integer(Key::kPort), 2525);
  EXPECT_TRUE(options.Boolean(Key::kVerify));
  EXPECT_EQ(options.Duration("timeout"), std::chrono::milliseconds(1500));
  EXPECT_EQ(options.Size("limit"), 4096);
  EXPECT_EQ(options.Enum("tls"), "starttls");
  EXPECT_EQ(options.Path(Key::kFile), "/etc/x");
  EXPECT_EQ(options.List("tags"), (std::vector<std::string>{"a", "b"}));
  EXPECT_FALSE(options.IsDefault("port"));
}

TEST(OptionsTest, DefectsOfThePluginAreNamed) {
  const FakeOptions fake(kTable, {});
  const auto message = [&](const auto& ask) -> std::string {
    try {
      ask(fake.options());
      return "no error";
    } catch (const std::logic_error& e) {
      return e.what();
    }
  };
  EXPECT_EQ(message([](const Options& o) { o.String("hots"); }), "plugin defect: its option table has no \"hots\"");
  EXPECT_EQ(message([](const Options& o) { o.String("port"); }),
            "plugin defect: option \"port\" was read as another type than its table says");
  EXPECT_EQ(message([](const Options& o) { o.IsDefault(static_cast<Key>(8)); }),
            "plugin defect: it asked for option number 8 of 8");
  EXPECT_TRUE(fake.options().IsDefault("port"));
}

TEST(OutcomeTest, UnfilledIsInDoubt) { EXPECT_EQ(Outcome().outcome, POSTBUS_IN_DOUBT); }

TEST(HostTest, CompletePassesEverythingOn) {
  const FakeHost fake;
  Outcome outcome = Outcome::Transient("busy").At(POSTBUS_PHASE_RCPT, 450, {4, 2, 1}).RetryAfter(7000);
  outcome.provider_id = "4F2";
  outcome.recipients.push_back({.recipient = 1,
                                .outcome = POSTBUS_REJECTED_RECIPIENT,
                                .phase = POSTBUS_PHASE_RCPT,
                                .code = 550,
                                .enhanced = {5, 1, 1},
                                .text = "no such user"});
  fake.host().Complete(42, outcome);

  ASSERT_EQ(fake.completions().size(), 1u);
  const auto [token, seen] = fake.completions()[0];
  EXPECT_EQ(token, 42u);
  EXPECT_EQ(seen.outcome, POSTBUS_TRANSIENT);
  EXPECT_EQ(seen.phase, POSTBUS_PHASE_RCPT);
  EXPECT_EQ(seen.code, 450);
  EXPECT_EQ(seen.enhanced, (EnhancedCode{4, 2, 1}));
  EXPECT_EQ(seen.retry_after_ms, 7000u);
  EXPECT_EQ(seen.text, "busy");
  EXPECT_EQ(seen.provider_id, "4F2");
  ASSERT_EQ(seen.recipients.size(), 1u);
  EXPECT_EQ(seen.recipients[0].recipient, 1u);
  EXPECT_EQ(seen.recipients[0].outcome, POSTBUS_REJECTED_RECIPIENT);
  EXPECT_EQ(seen.recipients[0].phase, POSTBUS_PHASE_RCPT);
  EXPECT_EQ(seen.recipients[0].code, 550);
  EXPECT_EQ(seen.recipients[0].enhanced, (EnhancedCode{5, 1, 1}));
  EXPECT_EQ(seen.recipients[0].text, "no such user");
}

TEST(HostTest, PermitSend) {
  FakeHost fake;
  fake.Abort(2);
  const uint64_t tokens[] = {1, 2, 3};
  uint8_t verdicts[] = {9, 9, 9};
  fake.host().PermitSend(tokens, verdicts);
  EXPECT_EQ(verdicts[0], POSTBUS_GO);
  EXPECT_EQ(verdicts[1], POSTBUS_ABORT);
  EXPECT_EQ(verdicts[2], POSTBUS_GO);
  EXPECT_TRUE(fake.host().PermitSend(1));
  EXPECT_FALSE(fake.host().PermitSend(2));
}

}  // namespace
}  // namespace postbus::sdk
