#include "plugins/ses-stub/transport.h"

#include <rapidjson/document.h>
#include <rapidjson/pointer.h>

#include <set>

#include "tests/support/plugins/output_directory_test.h"

namespace postbus::ses_stub {
namespace {

namespace fs = std::filesystem;
using sdk::Outcome;
using sdk::testing::FakeMail;
using sdk::testing::FakeOptions;

class SesStubTransportTest : public postbus::testing::OutputDirectoryTest<SesStubTransport> {
 protected:
  void Make(std::vector<std::pair<std::string, FakeOptions::Value>> given = {}) {
    given.insert(given.begin(), {"max_message_size", int64_t{40 << 20}});
    OutputDirectoryTest::Make(host_.host(), kOptions, std::move(given));
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
  for (const auto& [option, value, expected] :
       {std::tuple{"account", FakeOptions::Value("suspended"), POSTBUS_PROVIDER_FAULT},
        std::tuple{"account", FakeOptions::Value("sending_paused"), POSTBUS_PROVIDER_FAULT},
        std::tuple{"max_message_size", FakeOptions::Value(int64_t{10}), POSTBUS_REJECTED_MESSAGE}}) {
    Make({{option, value}});
    FakeMail mail(3);
    EXPECT_EQ(Send(mail).outcome, expected) << option;
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
  SendMany(200);
  std::set<std::string> ids;
  for (const auto& line : Lines()) {
    ASSERT_FALSE(line.HasParseError());
    ids.insert(At(line, "/event_id"));
  }
  EXPECT_EQ(ids.size(), 200u);
}

}  // namespace
}  // namespace postbus::ses_stub
