// Plugins of other minors than this host's: those of v1.0/, built from the headers that are kept there, and one of a
// minor to come. All load, and send. tests/e2e/kept_plugins_test.py has the same with a whole postbus.
#include <gtest/gtest.h>

#include <condition_variable>
#include <filesystem>
#include <fstream>
#include <map>
#include <mutex>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "event/clock.h"
#include "host/abi_sizes.h"
#include "host/attempt_result.h"
#include "host/plugin_library.h"
#include "host/plugin_options.h"
#include "host/renderer.h"
#include "host/transport.h"
#include "postbus/testing/fake_host.hpp"

namespace postbus {
namespace {

namespace fs = std::filesystem;
using sdk::testing::FakeMail;

std::shared_ptr<const PluginLibrary> Load(const std::string& name) {
  auto library = PluginLibrary::Load(fs::path(POSTBUS_BUILD_DIR) / "tests/abi_plugins" / (name + ".so"));
  EXPECT_TRUE(library.ok()) << library.status().message();
  return library.ok() ? *library : nullptr;
}

// What a transport said, by token; ABORT for odd tokens above 1000.
class RecordingSink : public TransportSink {
 public:
  void PermitSend(std::span<const uint64_t> tokens, std::span<uint8_t> verdicts) override {
    for (size_t i = 0; i < tokens.size(); ++i) {
      verdicts[i] = tokens[i] > 1000 && tokens[i] % 2 == 1 ? POSTBUS_ABORT : POSTBUS_GO;
    }
  }
  void Complete(uint64_t token, const postbus_result& result) override {
    const std::lock_guard lock(mutex_);
    results_[token].Assign(result, 2);
    ++completed_;
    changed_.notify_all();
  }
  void Writable() override {
    const std::lock_guard lock(mutex_);
    ++writable_;
    changed_.notify_all();
  }

  bool WaitForCompletions(size_t n) {
    return WaitFor([&] { return completed_ >= n; });
  }
  bool WaitForWritable(size_t times) {
    return WaitFor([&] { return writable_ >= times; });
  }
  AttemptResult of(uint64_t token) {
    const std::lock_guard lock(mutex_);
    return results_[token];
  }
  size_t completed() {
    const std::lock_guard lock(mutex_);
    return completed_;
  }
  size_t writable() {
    const std::lock_guard lock(mutex_);
    return writable_;
  }

 private:
  template <typename Condition>
  bool WaitFor(Condition condition) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, std::chrono::seconds(60), condition);
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<uint64_t, AttemptResult> results_;
  size_t completed_ = 0;
  size_t writable_ = 0;
};

class CompatibilityTest : public testing::Test {
 protected:
  void SetUp() override {
    directory_ = fs::path(testing::TempDir()) /
                 ("abi-" + std::string(testing::UnitTest::GetInstance()->current_test_info()->name()));
    fs::remove_all(directory_);
    fs::create_directories(directory_);
  }
  void TearDown() override { fs::remove_all(directory_); }

  std::unique_ptr<Transport> Create(const std::string& name, std::vector<std::pair<std::string, std::string>> given,
                                    std::vector<std::string> names = {}) {
    const auto library = Load(name);
    if (library == nullptr) return nullptr;
    PluginConfig config;
    for (auto& [option, text] : given) {
      ConfiguredOption one;
      one.name = option;
      one.text = text;
      config.options.push_back(std::move(one));
    }
    if (!names.empty()) {
      ConfiguredOption list;
      list.name = "names";
      list.is_list = true;
      list.items = std::move(names);
      config.options.push_back(std::move(list));
    }
    const auto options = PluginOptions::Parse(library->options(), config, "transports.primary.options", name);
    EXPECT_TRUE(options.ok()) << options.status().message();
    auto transport = Transport::Create(library, "primary", *options, sink_, log_);
    EXPECT_TRUE(transport.ok()) << transport.status().message();
    return transport.ok() ? std::move(*transport) : nullptr;
  }

  static void End(Transport& transport) {
    transport.Quiesce(BootTimeMs() + 60'000);
    while (transport.outstanding() != 0) std::this_thread::yield();
  }

  std::string Read(const std::string& name) const {
    std::ifstream file(directory_ / name, std::ios::binary);
    std::ostringstream text;
    text << file.rdbuf();
    return text.str();
  }

  fs::path directory_;
  RecordingSink sink_;
  std::vector<std::string> lines_;
  QueueLog log_ = [this](LogLevel, std::string_view line) { lines_.emplace_back(line); };
};

TEST_F(CompatibilityTest, TransportInCSends) {
  const auto transport = Create("v1_0_transport_c", {{"directory", directory_.string()}});
  ASSERT_NE(transport, nullptr);
  EXPECT_EQ(transport->library().abi(), "1.0");
  EXPECT_TRUE(transport->wants_raw());
  EXPECT_FALSE(transport->wants_parts());
  EXPECT_TRUE(transport->Probe(BootTimeMs() + 1000).ok());

  std::vector<FakeMail> mails;
  for (uint64_t token = 1; token <= 40; ++token) mails.emplace_back(token);
  std::vector<const postbus_mail*> offered;
  for (FakeMail& mail : mails) offered.push_back(&mail.view());
  while (!offered.empty()) {
    const size_t writable = sink_.writable();
    const uint32_t taken = transport->Submit(offered);
    offered.erase(offered.begin(), offered.begin() + taken);
    if (!offered.empty()) {
      ASSERT_TRUE(sink_.WaitForWritable(writable + 1));
    }
  }
  ASSERT_TRUE(sink_.WaitForCompletions(40));
  for (uint64_t token = 1; token <= 40; ++token) {
    EXPECT_EQ(sink_.of(token).of(0).outcome, POSTBUS_ACCEPTED);
    EXPECT_EQ(Read("event-" + std::to_string(token) + ".eml"), mails[0].raw);
  }

  FakeMail refused(1001);
  FakeMail late(2);
  late.deadline_ms = 0;
  const postbus_mail* const rest[] = {&refused.view(), &late.view()};
  EXPECT_EQ(transport->Submit(rest), 2u);
  const uint64_t tokens[] = {4711, 1001};
  transport->Cancel(tokens);
  ASSERT_TRUE(sink_.WaitForCompletions(42));
  EXPECT_EQ(sink_.of(1001).of(0).outcome, POSTBUS_NOT_SENT);
  EXPECT_EQ(sink_.of(2).of(0).outcome, POSTBUS_NOT_SENT);
  End(*transport);
  EXPECT_EQ(sink_.completed(), 42u);
  EXPECT_EQ(lines_, std::vector<std::string>{});
}

TEST_F(CompatibilityTest, TransportInCppSends) {
  const auto transport = Create("v1_0_transport_cc",
                                {{"file", (directory_ / "log").string()},
                                 {"token", "secret"},
                                 {"timeout", "2m"},
                                 {"flag", "false"},
                                 {"refuse", "some"}},
                                {"a", "b"});
  ASSERT_NE(transport, nullptr);
  EXPECT_TRUE(transport->wants_parts());
  FakeMail mail(1);
  mail.recipients = {"ada@example.org", "refused@example.org"};
  mail.cc = {"c@example.org"};
  mail.bcc = {"d@example.org", "e@example.org"};
  mail.reply_to = {"f@example.org"};
  mail.subject = "Grüße";
  mail.headers = {{"X-A", "1"}, {"X-B", "2"}};
  mail.tags = {"t", "u", "v"};
  mail.metadata = {{"m", "1"}};
  mail.attachments = {{.filename = "a.txt", .content_type = "text/plain", .content_id = "", .base64 = "aGVsbG8="}};
  FakeMail aborted(1001);
  const postbus_mail* const mails[] = {&mail.view(), &aborted.view()};
  EXPECT_EQ(transport->Submit(mails), 2u);
  EXPECT_EQ(Read("log"),
            "options: 7 0 120000 2048 a b given\n"
            "event-1 shop@example.com 2 1 2 1 2 1 3 1 Grüße\n"
            "file: aGVsbG8=\n");
  const AttemptResult result = sink_.of(1);
  EXPECT_EQ(result.of(0).outcome, POSTBUS_ACCEPTED);
  EXPECT_EQ(result.of(0).code, 202);
  EXPECT_EQ(result.of(0).EnhancedText(), "2.1.5");
  EXPECT_EQ(result.provider_id(), "event-1");
  EXPECT_EQ(result.of(1).outcome, POSTBUS_REJECTED_RECIPIENT);
  EXPECT_EQ(result.of(1).phase, POSTBUS_PHASE_RCPT);
  EXPECT_EQ(result.of(1).EnhancedText(), "5.7.509");
  EXPECT_EQ(result.of(1).text, "no such mailbox");
  EXPECT_EQ(sink_.of(1001).of(0).outcome, POSTBUS_NOT_SENT);
  End(*transport);
}

TEST_F(CompatibilityTest, RendererRenders) {
  const auto library = Load("v1_0_renderer_c");
  ASSERT_NE(library, nullptr);
  const auto options = PluginOptions::Parse(library->options(), PluginConfig{}, "renderer.options", "kept");
  ASSERT_TRUE(options.ok());
  const auto renderer = Renderer::Create(library, *options, log_);
  ASSERT_TRUE(renderer.ok()) << renderer.status().message();
  EXPECT_EQ((*renderer)->Templates(), (std::vector<std::string>{"hello", "note"}));
  RenderedMail mail;
  EXPECT_EQ((*renderer)->Render("hello", R"({"Name":"Ada"})", mail), RenderOutcome::kOk);
  EXPECT_EQ(mail.subject, "Hello from 1.0");
  EXPECT_EQ(mail.text, R"({"Name":"Ada"})");
  EXPECT_EQ(mail.html, "<p>Hello from 1.0</p>");
  EXPECT_EQ((*renderer)->Render("note", "{}", mail), RenderOutcome::kMissingVariable);
  EXPECT_EQ(mail.error, "/Name is missing");
  EXPECT_EQ((*renderer)->Render("other", "{}", mail), RenderOutcome::kUnknownTemplate);
  EXPECT_EQ((*renderer)->Render("note", "[]", mail), RenderOutcome::kInvalidData);
  EXPECT_EQ(lines_, std::vector<std::string>{"renderer: two templates"});
}

// A struct of a plugin that was built when it was shorter.
TEST(CopyOfTest, TakesAsMuchAsThereIs) {
  struct Now {
    uint32_t size;
    uint32_t old;
    uint64_t newer;
  };
  struct {
    Now then;
    uint64_t beyond;
  } memory = {{8, 7, 42}, 42};
  EXPECT_EQ(CopyOf(memory.then).old, 7u);
  EXPECT_EQ(CopyOf(memory.then).newer, 0u) << "that is somebody else's memory";
  EXPECT_EQ(CopyOf(memory.then).size, sizeof(Now));
  memory.then.size = sizeof memory;
  EXPECT_EQ(CopyOf(memory.then).newer, 42u);
}

// What it allocates is longer than what this host knows, and its flags have bits that mean nothing here.
TEST_F(CompatibilityTest, PluginOfALaterMinorSends) {
  const auto transport = Create("later_minor", {{"port", "2525"}});
  ASSERT_NE(transport, nullptr);
  EXPECT_EQ(transport->library().abi(), "1.7");
  FakeMail mail(1);
  const postbus_mail* const mails[] = {&mail.view()};
  EXPECT_EQ(transport->Submit(mails), 1u);
  const AttemptResult result = sink_.of(1);
  EXPECT_EQ(result.of(1).outcome, POSTBUS_ACCEPTED);
  EXPECT_EQ(result.of(1).phase, POSTBUS_PHASE_FINAL_DOT);
  EXPECT_EQ(result.provider_id(), "7");
  EXPECT_EQ(result.of(0).outcome, POSTBUS_REJECTED_RECIPIENT);
  EXPECT_EQ(result.of(0).EnhancedText(), "5.7.509");
  EXPECT_EQ(result.of(0).text, "no such mailbox");
  EXPECT_EQ(lines_, std::vector<std::string>{});
  End(*transport);
}

}  // namespace
}  // namespace postbus
