#include "plugins/ses-stub/transport.h"

#include <gtest/gtest.h>
#include <rapidjson/document.h>
#include <rapidjson/pointer.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <sstream>
#include <vector>

#include "postbus/testing/fake_host.hpp"

namespace postbus::ses_stub {
namespace {

namespace fs = std::filesystem;
using sdk::Outcome;
using sdk::testing::FakeHost;
using sdk::testing::FakeMail;
using sdk::testing::FakeOptions;

class SesStubTransportTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = testing::TempDir() + "/ses_stub_XXXXXX";
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    root_ = pattern;
    directory_ = root_ / "a/b";
  }
  void TearDown() override {
    transport_.reset();
    fs::remove_all(root_);
  }

  void Make(std::vector<std::pair<std::string, FakeOptions::Value>> given = {}) {
    given.emplace_back("directory", directory_.string());
    given.emplace_back("max_message_size", int64_t{40 << 20});
    const FakeOptions options(kOptions, std::move(given));
    transport_ = std::make_unique<SesStubTransport>(host_.host(), options.options());
  }

  Outcome Send(FakeMail& mail) {
    const postbus_mail* const offered[] = {&mail.view()};
    EXPECT_EQ(transport_->Submit(offered), 1u);
    EXPECT_TRUE(host_.WaitForCompletions(++sent_));
    while (transport_->Outstanding() != 0) std::this_thread::yield();
    return host_.completions().back().outcome;
  }

  static std::string Read(const fs::path& path) {
    std::ifstream file(path, std::ios::binary);
    std::ostringstream text;
    text << file.rdbuf();
    return text.str();
  }

  // Each line of requests.jsonl; a broken one has a parse error.
  std::vector<rapidjson::Document> Lines() const {
    std::vector<rapidjson::Document> lines;
    std::istringstream text(Read(directory_ / "requests.jsonl"));
    for (std::string line; std::getline(text, line);) lines.emplace_back().Parse(line.c_str());
    return lines;
  }
  static std::string At(const rapidjson::Document& line, const char* pointer) {
    const rapidjson::Value* value = rapidjson::Pointer(pointer).Get(line);
    return value == nullptr ? "absent" : value->IsString() ? value->GetString() : std::to_string(value->GetInt64());
  }

  fs::path root_;
  fs::path directory_;
  FakeHost host_;
  size_t sent_ = 0;
  std::unique_ptr<SesStubTransport> transport_;
};

TEST_F(SesStubTransportTest, KeepsTheMailAndTheRequest) {
  Make();
  FakeMail mail(1);
  mail.recipients = {"ada@example.org", "bounce@simulator.amazonses.com"};
  mail.event_id = "quote\"and\nbreak";
  const Outcome outcome = Send(mail);
  ASSERT_EQ(outcome.outcome, POSTBUS_ACCEPTED) << outcome.text;
  EXPECT_EQ(Read(directory_ / (outcome.provider_id + ".eml")), mail.raw);

  const auto lines = Lines();
  ASSERT_EQ(lines.size(), 1u);
  ASSERT_FALSE(lines[0].HasParseError());
  EXPECT_EQ(At(lines[0], "/event_id"), "quote\"and\nbreak");
  EXPECT_EQ(At(lines[0], "/attempt"), "1");
  EXPECT_EQ(At(lines[0], "/request/FromEmailAddress"), "shop@example.com");
  EXPECT_EQ(At(lines[0], "/request/Destination/ToAddresses/1"), "bounce@simulator.amazonses.com");
  EXPECT_EQ(At(lines[0], "/request/raw_bytes"), std::to_string(mail.raw.size()));
  EXPECT_EQ(At(lines[0], "/answer/status"), "200");
  EXPECT_EQ(At(lines[0], "/answer/MessageId"), outcome.provider_id);
  EXPECT_EQ(At(lines[0], "/events/0/eventType"), "Delivery");
  EXPECT_EQ(At(lines[0], "/events/1/eventType"), "Bounce");
  EXPECT_EQ(At(lines[0], "/events/1/bounceSubType"), "General");
}

TEST_F(SesStubTransportTest, ARefusalIsALineWithoutMail) {
  Make({{"verified_identities", std::vector<std::string>{"usualstore.com"}}});
  FakeMail mail(1);
  const Outcome outcome = Send(mail);
  EXPECT_EQ(outcome.outcome, POSTBUS_REJECTED_MESSAGE);
  EXPECT_EQ(outcome.text, "MessageRejected: Email address is not verified.");
  const auto lines = Lines();
  ASSERT_EQ(lines.size(), 1u);
  EXPECT_EQ(At(lines[0], "/answer/__type"), "MessageRejected");
  EXPECT_EQ(At(lines[0], "/events/0/eventType"), "absent");
  EXPECT_EQ(std::distance(fs::directory_iterator(directory_), {}), 1);
}

TEST_F(SesStubTransportTest, OptionsReachTheAccount) {
  Make({{"max_send_rate", int64_t{1}}});
  FakeMail first(1);
  first.recipients = {"a@b.c", "d@e.f"};
  FakeMail second(2);
  EXPECT_EQ(Send(first).outcome, POSTBUS_ACCEPTED);
  EXPECT_EQ(Send(second).outcome, POSTBUS_THROTTLED);
  sent_ = 0;
  for (const auto& [option, value, expected] :
       {std::tuple{"account", FakeOptions::Value("suspended"), POSTBUS_PROVIDER_FAULT},
        std::tuple{"account", FakeOptions::Value("sending_paused"), POSTBUS_PROVIDER_FAULT},
        std::tuple{"max_message_size", FakeOptions::Value(int64_t{10}), POSTBUS_REJECTED_MESSAGE}}) {
    const FakeOptions options(kOptions, {{"directory", directory_.string()}, {option, value}});
    FakeHost host;
    SesStubTransport transport(host.host(), options.options());
    FakeMail mail(3);
    const postbus_mail* const offered[] = {&mail.view()};
    EXPECT_EQ(transport.Submit(offered), 1u);
    EXPECT_TRUE(host.WaitForCompletions(1));
    while (transport.Outstanding() != 0) std::this_thread::yield();
    EXPECT_EQ(host.completions()[0].outcome.outcome, expected) << option;
  }
}

TEST_F(SesStubTransportTest, ADirectoryThatWentAwayIsTheProvidersFault) {
  Make();
  fs::remove_all(directory_);
  FakeMail mail(1);
  const Outcome outcome = Send(mail);
  EXPECT_EQ(outcome.outcome, POSTBUS_PROVIDER_FAULT);
  EXPECT_EQ(outcome.text, "cannot write into the directory " + directory_.string() + ": No such file or directory");
}

TEST_F(SesStubTransportTest, DirectoryThatCannotBe) {
  std::ofstream(root_ / "a") << "a file";
  EXPECT_THROW(Make(), std::runtime_error);
}

TEST_F(SesStubTransportTest, ManyAtOnceGiveWholeLines) {
  Make();
  std::vector<std::unique_ptr<FakeMail>> mails;
  size_t taken = 0;
  while (taken < 200) {
    if (mails.size() == taken) mails.push_back(std::make_unique<FakeMail>(taken + 1));
    const postbus_mail* const offered[] = {&mails[taken]->view()};
    taken += transport_->Submit(offered);
  }
  ASSERT_TRUE(host_.WaitForCompletions(200));
  while (transport_->Outstanding() != 0) std::this_thread::yield();
  std::set<std::string> ids;
  for (const auto& line : Lines()) {
    ASSERT_FALSE(line.HasParseError());
    ids.insert(At(line, "/event_id"));
  }
  EXPECT_EQ(ids.size(), 200u);
}

}  // namespace
}  // namespace postbus::ses_stub
