#include "host/transport.h"

#include <gtest/gtest.h>

#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "event/clock.h"

namespace postbus {
namespace {

class RecordingSink : public TransportSink {
 public:
  void PermitSend(std::span<const uint64_t> tokens, std::span<uint8_t> verdicts) override {
    const std::lock_guard lock(mutex_);
    for (size_t i = 0; i < tokens.size(); ++i) {
      asked_.push_back(tokens[i]);
      verdicts[i] = aborted_.contains(tokens[i]) ? POSTBUS_ABORT : POSTBUS_GO;
    }
  }
  void Complete(uint64_t token, const postbus_result& result) override {
    const std::lock_guard lock(mutex_);
    outcomes_[token].push_back(result.outcome);
    provider_ids_[token].assign(result.provider_id.data, result.provider_id.size);
    changed_.notify_all();
  }
  void Writable() override {}

  void Abort(uint64_t token) { aborted_.insert(token); }
  std::vector<int32_t> WaitForOutcome(uint64_t token) {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, std::chrono::seconds(20), [&] { return !outcomes_[token].empty(); });
    return outcomes_[token];
  }
  std::string provider_id(uint64_t token) {
    const std::lock_guard lock(mutex_);
    return provider_ids_[token];
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::set<uint64_t> aborted_;
  std::vector<uint64_t> asked_;
  std::map<uint64_t, std::vector<int32_t>> outcomes_;
  std::map<uint64_t, std::string> provider_ids_;
};

using Outcomes = std::vector<int32_t>;

class TransportTest : public testing::Test {
 protected:
  Result<std::unique_ptr<Transport>> Create(const std::string& plugin, std::vector<ConfiguredOption> given = {}) {
    auto library = PluginLibrary::Load(POSTBUS_BUILD_DIR + ("/tests/plugins/" + plugin + ".so"));
    if (!library.ok()) return library.TakeStatus();
    PluginConfig config;
    config.options = std::move(given);
    auto options = PluginOptions::Parse((*library)->options(), config, "transports.primary.options", plugin);
    if (!options.ok()) return options.TakeStatus();
    return Transport::Create(*library, "primary", *options, sink_, log_);
  }

  static ConfiguredOption Option(const std::string& name, const std::string& text) {
    ConfiguredOption option;
    option.name = name;
    option.text = text;
    return option;
  }

  // The host's rule: destroyed at 0 only.
  static void Drain(Transport& transport) {
    transport.Quiesce(BootTimeMs() + 20'000);
    while (transport.outstanding() != 0) std::this_thread::yield();
  }

  RecordingSink sink_;
  std::vector<std::string> lines_;
  QueueLog log_ = [this](LogLevel level, std::string_view line) {
    lines_.push_back(std::to_string(static_cast<int>(level)) + " " + std::string(line));
  };
};

TEST_F(TransportTest, PluginInC) {
  const auto created = Create("minimal");
  ASSERT_TRUE(created.ok()) << created.status().message();
  Transport& transport = **created;
  EXPECT_EQ(transport.name(), "primary");
  EXPECT_EQ(transport.library().id(), "acme");
  EXPECT_FALSE(transport.wants_raw());
  EXPECT_FALSE(transport.wants_parts());
  EXPECT_TRUE(transport.test_only());
  EXPECT_EQ(lines_, std::vector<std::string>{"1 primary: hello"}) << "the log line has the instance's name";
  EXPECT_TRUE(transport.Probe(BootTimeMs() + 1000).ok());

  sink_.Abort(2);
  postbus_mail mails[2] = {};
  mails[0].token = 1;
  mails[1].token = 2;
  mails[0].deadline_ms = mails[1].deadline_ms = BootTimeMs() + 60'000;
  const postbus_mail* const offered[] = {&mails[0], &mails[1]};
  EXPECT_EQ(transport.Submit(offered), 2u);
  EXPECT_EQ(sink_.WaitForOutcome(1), Outcomes{POSTBUS_ACCEPTED});
  EXPECT_EQ(sink_.WaitForOutcome(2), Outcomes{POSTBUS_NOT_SENT});
  EXPECT_EQ(transport.Submit({}), 0u);
  transport.Cancel({});
  Drain(transport);
}

TEST_F(TransportTest, ExampleOfTheSdk) {
  const auto created = Create("acme", {Option("token", "secret"), Option("threads", "2")});
  ASSERT_TRUE(created.ok()) << created.status().message();
  Transport& transport = **created;
  EXPECT_TRUE(transport.wants_raw());
  EXPECT_FALSE(transport.test_only());
  const std::string large(1'000'001, 'x');
  postbus_mail mails[2] = {};
  mails[0].token = 1;
  mails[1].token = 2;
  mails[1].raw = {large.data(), large.size()};
  mails[0].deadline_ms = mails[1].deadline_ms = BootTimeMs() + 60'000;
  const postbus_mail* const offered[] = {&mails[0], &mails[1]};
  EXPECT_EQ(transport.Submit(offered), 2u);
  EXPECT_EQ(sink_.WaitForOutcome(1), Outcomes{POSTBUS_ACCEPTED});
  EXPECT_EQ(sink_.provider_id(1), "acme-s");
  EXPECT_EQ(sink_.WaitForOutcome(2), Outcomes{POSTBUS_REJECTED_MESSAGE});
  Drain(transport);
}

TEST_F(TransportTest, CreateErrorBeginsWithTheName) {
  const auto created = Create("minimal", {Option("greeting", "")});
  ASSERT_FALSE(created.ok());
  EXPECT_EQ(created.status().message(), "primary: greeting is empty; write a word of your choice");
}

TEST_F(TransportTest, RendererIsNoTransport) {
  const auto created = Create("echo");
  ASSERT_FALSE(created.ok());
  EXPECT_EQ(created.status().message(),
            "primary: " POSTBUS_BUILD_DIR "/tests/plugins/echo.so is a renderer, not a transport");
}

}  // namespace
}  // namespace postbus
