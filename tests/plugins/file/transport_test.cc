#include "plugins/file/transport.h"

#include <set>

#include "tests/support/plugins/output_directory_test.h"

namespace postbus::file {
namespace {

namespace fs = std::filesystem;
using sdk::Outcome;
using sdk::testing::FakeMail;

class FileTransportTest : public postbus::testing::OutputDirectoryTest<FileTransport> {
 protected:
  void Make(sdk::Host host, int64_t threads = 1) {
    OutputDirectoryTest::Make(host, kOptions, {{"sync", 1}, {"threads", threads}});
  }
  void Make() { Make(host_.host()); }

  std::set<std::string> Files() const {
    std::set<std::string> names;
    for (const auto& entry : fs::directory_iterator(directory_)) names.insert(entry.path().filename().string());
    return names;
  }
};

TEST_F(FileTransportTest, WritesExactlyTheBytes) {
  Make();
  FakeMail mail(1);
  mail.raw = std::string("Subject: x\r\n\r\n.\r\nbinary \0 and \xff\r\n", 32);
  const Outcome outcome = Send(mail);
  EXPECT_EQ(outcome.outcome, POSTBUS_ACCEPTED) << outcome.text;
  EXPECT_EQ(outcome.provider_id, FileName(mail.view()));
  EXPECT_EQ(Files(), std::set<std::string>{FileName(mail.view())});
  EXPECT_EQ(Read(directory_ / FileName(mail.view())), mail.raw);
}

TEST_F(FileTransportTest, AttemptsOverwrite) {
  Make();
  FakeMail first(1);
  first.event_id = "order-1";
  FakeMail second(2);
  second.event_id = "order-1";
  second.raw = "the same mail, later";
  Send(first);
  Send(second);
  EXPECT_EQ(Files().size(), 1u);
  EXPECT_EQ(Read(directory_ / *Files().begin()), "the same mail, later");
  FakeMail other(3);
  other.event_id = "order-1";
  other.recipients = {"b@example.org"};
  Send(other);
  EXPECT_EQ(Files().size(), 2u) << "other recipients are another mail";
}

TEST_F(FileTransportTest, AbortLeavesNothing) {
  Make();
  FakeMail mail(1);
  host_.Abort(1);
  EXPECT_EQ(Send(mail).outcome, POSTBUS_NOT_SENT);
  EXPECT_TRUE(Files().empty());
}

// The host says GO at first and ABORT right before the rename: a slow disk outlasted the permission.
TEST_F(FileTransportTest, AbortBeforeTheRenameLeavesNothing) {
  postbus_host changing = *host_.abi();
  static int asked;
  asked = 0;
  changing.permit_send = [](void*, const uint64_t*, uint8_t* verdicts, uint32_t) {
    verdicts[0] = ++asked == 1 ? POSTBUS_GO : POSTBUS_ABORT;
  };
  Make(sdk::Host(&changing));
  FakeMail mail(1);
  EXPECT_EQ(Send(mail).outcome, POSTBUS_NOT_SENT);
  EXPECT_EQ(asked, 2);
  EXPECT_TRUE(Files().empty());
  transport_.reset();
}

TEST_F(FileTransportTest, DirectoryThatWentAwayIsTheProvidersFault) {
  Make();
  fs::remove_all(directory_);
  FakeMail mail(1);
  const Outcome outcome = Send(mail);
  EXPECT_EQ(outcome.outcome, POSTBUS_PROVIDER_FAULT);
  EXPECT_EQ(outcome.text, "cannot write into the directory " + directory_.string() + ": No such file or directory");
  std::string report;
  EXPECT_FALSE(transport_->Probe(0, report));
  EXPECT_EQ(report, "cannot write into " + directory_.string() + ": No such file or directory");
}

TEST_F(FileTransportTest, ProbeLeavesNothing) {
  Make();
  std::string report;
  EXPECT_TRUE(transport_->Probe(0, report)) << report;
  EXPECT_TRUE(Files().empty());
}

TEST_F(FileTransportTest, DirectoryThatCannotBe) {
  std::ofstream(root_ / "a") << "a file";
  try {
    Make();
    FAIL() << "it made " << directory_;
  } catch (const std::runtime_error& e) {
    EXPECT_EQ(std::string(e.what()), "cannot make the directory " + directory_.string() + ": Not a directory");
  }
}

TEST_F(FileTransportTest, ManyAtOnce) {
  Make(host_.host(), 4);
  SendMany(200);
  std::set<std::string> expected;
  for (const auto& mail : mails_) expected.insert(FileName(mail->view()));
  EXPECT_EQ(expected.size(), 200u);
  EXPECT_EQ(Files(), expected);
}

TEST(FileNameTest, IsSafe) {
  const auto name = [](const std::string& id) {
    FakeMail mail(1);
    mail.event_id = id;
    const std::string file = FileName(mail.view());
    EXPECT_EQ(file.substr(file.size() - 4), ".eml");
    return file.substr(0, file.size() - 21);  // without -<16 digits>.eml
  };
  EXPECT_EQ(name("550e8400-e29b.A_1"), "550e8400-e29b.A_1");
  EXPECT_EQ(name("../../etc/passwd"), "_._.._etc_passwd");
  EXPECT_EQ(name("."), "_");
  EXPECT_EQ(name("a:b"), "a_b");
  EXPECT_EQ(name(std::string(500, 'x')), std::string(128, 'x'));
  FakeMail colon(1);
  colon.event_id = "a:b";
  FakeMail underscore(1);
  underscore.event_id = "a_b";
  EXPECT_NE(FileName(colon.view()), FileName(underscore.view())) << "the hash keeps them apart";
}

}  // namespace
}  // namespace postbus::file
