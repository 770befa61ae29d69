// Plugins in bad_plugins/ have one sin each: the host meets it with one clear error that names the file, and lives on.
// Those whose sin only `postbus plugins check` sees are in tests/cli/plugins_check_test.py, as these are, too.
#include <gtest/gtest.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <vector>

#include "host/plugin_library.h"
#include "host/plugin_options.h"
#include "host/renderer.h"
#include "host/transport.h"

namespace postbus {
namespace {

namespace fs = std::filesystem;

fs::path PathOf(const std::string& name) { return fs::path(POSTBUS_BUILD_DIR) / "tests/bad_plugins" / (name + ".so"); }

// What the host answered to loading it, without the path it must begin with.
std::string LoadError(const fs::path& path) {
  const auto library = PluginLibrary::Load(path);
  if (library.ok()) return "it was loaded";
  const std::string message(library.status().message());
  const std::string prefix = path.string() + ": ";
  return message.starts_with(prefix) ? message.substr(prefix.size()) : "(no path) " + message;
}

struct Refusal {
  const char* plugin;
  const char* error;
};

class RefusedOnLoadTest : public testing::TestWithParam<Refusal> {};

TEST_P(RefusedOnLoadTest, SaysWhy) { EXPECT_EQ(LoadError(PathOf(GetParam().plugin)), GetParam().error); }

constexpr Refusal kRefusals[] = {
    {"no_entry", "it exports no postbus_plugin_entry, so it is not a postbus plugin"},
    {"wrong_magic", "its postbus_plugin_entry is not a postbus plugin's (wrong magic number)"},
    {"future_major", "ABI 2.0, this postbus speaks 1.x; rebuild against postbus-sdk 1"},
    {"short_entry", "its postbus_plugin_entry has 40 bytes where ABI 1.0 has 88; rebuild against postbus-sdk 1"},
    {"short_transport_struct",
     "its postbus_transport has 40 bytes where ABI 1.0 has 64; rebuild against postbus-sdk 1"},
    {"short_option", "its postbus_option has 64 bytes where ABI 1.0 has 112; rebuild against postbus-sdk 1"},
    {"unknown_caps", "its postbus_transport has bits in `caps` that ABI 1.0 does not know; they are 0"},
    {"unknown_flags", "its option \"port\" has bits in `flags` that ABI 1.0 does not know; they are 0"},
    {"fills_reserved", "its postbus_plugin_entry has bits in `reserved` that ABI 1.0 does not know; they are 0"},
    {"null_function", "its postbus_transport has no function submit"},
    {"null_get", "its postbus_plugin_entry has no function get"},
    {"no_table", "it says it is a renderer, but has no \"postbus.renderer/1\""},
    {"wrong_kind", "its kind 7 is neither transport (1) nor renderer (2)"},
    {"empty_id", "its id \"\" is not a name (a-z, 0-9, - and _)"},
    {"empty_version", "it has no version"},
    {"null_option", "its option table has a null entry"},
    {"bad_option_name", "its option \"Server Port\" is not a name (a-z, 0-9 and _)"},
    {"duplicate_option", "its option \"port\" is in its option table twice"},
    {"bad_default", "its option \"port\" has a bad default: \"70000\" is not a port (1–65535)"},
    {"unresolved_symbol", "cannot be loaded: undefined symbol: postbus_test_missing_function"},
};

INSTANTIATE_TEST_SUITE_P(BadPlugins, RefusedOnLoadTest, testing::ValuesIn(kRefusals),
                         [](const testing::TestParamInfo<Refusal>& test) { return std::string(test.param.plugin); });

TEST(BadPluginFileTest, NotAnElf) {
  const fs::path path = fs::path(testing::TempDir()) / "not_an_elf.so";
  std::ofstream(path) << "I am a text, whatever my name says.\n";
  EXPECT_EQ(LoadError(path), "cannot be loaded: file too short");
  std::ofstream(path) << std::string(4096, 'x');
  EXPECT_EQ(LoadError(path), "cannot be loaded: invalid ELF header");
  fs::remove(path);
}

TEST(BadPluginFileTest, MissingFile) {
  EXPECT_EQ(LoadError("/nonexistent/acme.so"),
            "cannot be loaded: cannot open shared object file: No such file or directory");
}

// What a transport said, by token.
class RecordingSink : public TransportSink {
 public:
  struct Completion {
    int32_t outcome;
    size_t text_size;
    uint32_t n_recipients;
  };

  void PermitSend(std::span<const uint64_t> /*tokens*/, std::span<uint8_t> verdicts) override {
    for (uint8_t& verdict : verdicts) verdict = POSTBUS_GO;
  }
  void Complete(uint64_t token, const postbus_result& result) override {
    completions[token].push_back({result.outcome, result.text.size, result.n_recipients});
  }
  void Writable() override {}

  std::map<uint64_t, std::vector<Completion>> completions;
};

class BadInstanceTest : public testing::Test {
 protected:
  // Makes an instance named "primary"; "" or the error.
  std::string Create(const std::string& name) {
    const auto library = PluginLibrary::Load(PathOf(name));
    if (!library.ok()) return std::string(library.status().message());
    const auto options =
        PluginOptions::Parse((*library)->options(), PluginConfig{}, "transports.primary.options", "bad");
    if (!options.ok()) return std::string(options.status().message());
    auto transport = Transport::Create(*library, "primary", *options, sink_, log_);
    if (!transport.ok()) return std::string(transport.status().message());
    transport_ = std::move(*transport);
    return "";
  }

  uint32_t Submit(uint64_t n) {
    std::vector<postbus_mail> mails(n);
    std::vector<const postbus_mail*> pointers;
    for (uint64_t i = 0; i < n; ++i) {
      mails[i].size = sizeof(postbus_mail);
      mails[i].token = i + 1;
      mails[i].deadline_ms = INT64_MAX;
      pointers.push_back(&mails[i]);
    }
    return transport_->Submit(pointers);
  }

  std::vector<int32_t> Outcomes(uint64_t token) {
    std::vector<int32_t> outcomes;
    for (const auto& completion : sink_.completions[token]) outcomes.push_back(completion.outcome);
    return outcomes;
  }

  RecordingSink sink_;
  std::vector<std::string> lines_;
  QueueLog log_ = [this](LogLevel, std::string_view line) { lines_.emplace_back(line); };
  std::unique_ptr<Transport> transport_;
};

std::string Defect(const std::string& what, const std::string& plugin) {
  return "primary: " + what + " (defect of plugin " + PathOf(plugin).string() + "; logged once)";
}

using Lines = std::vector<std::string>;

TEST_F(BadInstanceTest, CreateFails) {
  EXPECT_EQ(Create("create_fails"), "primary: the port is taken; choose another one");
}

TEST_F(BadInstanceTest, CreateGivesNoReason) {
  EXPECT_EQ(Create("create_gives_no_reason"), "primary: the plugin gave no reason");
}

TEST_F(BadInstanceTest, CreateMakesNothing) {
  EXPECT_EQ(Create("create_makes_nothing"), "primary: the plugin reported success and made no instance");
}

TEST_F(BadInstanceTest, CreateTalksTooMuch) {
  std::string expected = "primary: ";
  while (expected.size() < 9 + 4096) expected += "0123456789abcdef";
  EXPECT_EQ(Create("create_talks_too_much"), expected);
}

TEST_F(BadInstanceTest, ThrowsInCreate) {
  EXPECT_EQ(Create("throws_in_create"), "primary: an exception crossed the plugin ABI: no such relay");
}

TEST_F(BadInstanceTest, ThrowsInSubmit) {
  ASSERT_EQ(Create("throws_in_submit"), "");
  EXPECT_EQ(Submit(2), 2u) << "it may have taken them: they must stay valid";
  EXPECT_EQ(Outcomes(1), (std::vector<int32_t>{POSTBUS_IN_DOUBT}));
  EXPECT_EQ(Outcomes(2), (std::vector<int32_t>{POSTBUS_IN_DOUBT}));
  Submit(1);
  EXPECT_EQ(lines_, Lines{Defect("an exception crossed the plugin ABI", "throws_in_submit")});
}

TEST_F(BadInstanceTest, TakesMoreThanOffered) {
  ASSERT_EQ(Create("takes_more_than_offered"), "");
  EXPECT_EQ(Submit(3), 3u);
  EXPECT_EQ(Submit(2), 2u);
  EXPECT_EQ(lines_, Lines{Defect("it says it took more mails than it was offered", "takes_more_than_offered")});
}

// Who completes what how often is judged by the pipeline, which knows the tokens.
TEST_F(BadInstanceTest, CompletesTwice) {
  ASSERT_EQ(Create("completes_twice"), "");
  EXPECT_EQ(Submit(1), 1u);
  EXPECT_EQ(Outcomes(1), (std::vector<int32_t>{POSTBUS_ACCEPTED, POSTBUS_REJECTED_MESSAGE}));
}

TEST_F(BadInstanceTest, CompletesUnknownToken) {
  ASSERT_EQ(Create("completes_unknown_token"), "");
  EXPECT_EQ(Submit(1), 1u);
  EXPECT_EQ(Outcomes(0xdeadbeef), (std::vector<int32_t>{POSTBUS_ACCEPTED}));
  EXPECT_EQ(Outcomes(1), (std::vector<int32_t>{POSTBUS_ACCEPTED}));
}

TEST_F(BadInstanceTest, CompletesWithRubbish) {
  ASSERT_EQ(Create("completes_with_rubbish"), "");
  EXPECT_EQ(Submit(6), 6u);
  EXPECT_EQ(Outcomes(1), (std::vector<int32_t>{POSTBUS_IN_DOUBT})) << "no result";
  EXPECT_EQ(Outcomes(2), (std::vector<int32_t>{POSTBUS_IN_DOUBT})) << "unknown outcome";
  EXPECT_EQ(Outcomes(3), (std::vector<int32_t>{POSTBUS_IN_DOUBT})) << "short struct";
  EXPECT_EQ(Outcomes(4), (std::vector<int32_t>{POSTBUS_ACCEPTED})) << "a text of address 0 is no text";
  EXPECT_EQ(sink_.completions[4][0].text_size, 0u);
  EXPECT_EQ(Outcomes(5), (std::vector<int32_t>{POSTBUS_ACCEPTED})) << "a text of 1 MiB is cut";
  EXPECT_EQ(sink_.completions[5][0].text_size, 4096u);
  EXPECT_EQ(Outcomes(6), (std::vector<int32_t>{POSTBUS_IN_DOUBT})) << "recipients at address 0";
  EXPECT_EQ(sink_.completions[6][0].n_recipients, 0u);
  EXPECT_EQ(lines_,
            Lines{Defect("it completed a mail with a malformed result, which counts as IN_DOUBT where it is unknown",
                         "completes_with_rubbish")});
}

TEST_F(BadInstanceTest, CallsTheHostWithNull) {
  ASSERT_EQ(Create("calls_with_null"), "");
  EXPECT_EQ(Submit(1), 1u);
  EXPECT_EQ(Outcomes(1), (std::vector<int32_t>{POSTBUS_ACCEPTED}));
  EXPECT_EQ(lines_, Lines{"primary: "});
}

TEST_F(BadInstanceTest, ThrowsInRender) {
  const auto library = PluginLibrary::Load(PathOf("throws_in_render"));
  ASSERT_TRUE(library.ok()) << library.status().message();
  const auto options = PluginOptions::Parse({}, PluginConfig{}, "renderer.options", "bad");
  ASSERT_TRUE(options.ok());
  const auto renderer = Renderer::Create(*library, *options, log_);
  ASSERT_TRUE(renderer.ok()) << renderer.status().message();
  RenderedMail mail;
  EXPECT_EQ((*renderer)->Render("welcome", "{}", mail), RenderOutcome::kFailed);
  EXPECT_EQ(mail.error, "an exception crossed the plugin ABI: no such cache");
  EXPECT_TRUE((*renderer)->Templates().empty());
  EXPECT_EQ(lines_, (Lines{"renderer: an exception crossed the plugin ABI: no such cache",
                           "renderer: an exception crossed the plugin ABI"}));
}

// Nothing helps against it but another process.
TEST_F(BadInstanceTest, CrashesInCreate) {
  EXPECT_EXIT(Create("crashes_in_create"), testing::KilledBySignal(SIGABRT), "");
}

}  // namespace
}  // namespace postbus
