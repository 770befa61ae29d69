#include "plugins/file/transport.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <set>
#include <sstream>

#include "postbus/testing/fake_host.hpp"

namespace postbus::file {
namespace {

namespace fs = std::filesystem;
using sdk::Outcome;
using sdk::testing::FakeHost;
using sdk::testing::FakeMail;
using sdk::testing::FakeOptions;

class FileTransportTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = testing::TempDir() + "/file_transport_XXXXXX";
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    root_ = pattern;
    directory_ = root_ / "a/b";
  }
  void TearDown() override {
    transport_.reset();
    fs::permissions(root_, fs::perms::owner_all);
    fs::remove_all(root_);
  }

  void Make(int64_t threads = 1) {
    const FakeOptions options(kOptions, {{"directory", directory_.string()}, {"sync", 1}, {"threads", threads}});
    transport_ = std::make_unique<FileTransport>(host_.host(), options.options());
  }

  Outcome Send(FakeMail& mail) {
    const postbus_mail* const offered[] = {&mail.view()};
    EXPECT_EQ(transport_->Submit(offered), 1u);
    EXPECT_TRUE(host_.WaitForCompletions(++sent_));
    while (transport_->Outstanding() != 0) std::this_thread::yield();
    return host_.completions().back().outcome;
  }

  std::set<std::string> Files() const {
    std::set<std::string> names;
    for (const auto& entry : fs::directory_iterator(directory_)) names.insert(entry.path().filename().string());
    return names;
  }

  static std::string Read(const fs::path& path) {
    std::ifstream file(path, std::ios::binary);
    std::ostringstream text;
    text << file.rdbuf();
    return text.str();
  }

  fs::path root_;
  fs::path directory_;
  FakeHost host_;
  size_t sent_ = 0;
  std::unique_ptr<FileTransport> transport_;
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
  const FakeOptions options(kOptions, {{"directory", directory_.string()}, {"sync", 1}, {"threads", 1}});
  transport_ = std::make_unique<FileTransport>(sdk::Host(&changing), options.options());
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
  Make(4);
  std::vector<std::unique_ptr<FakeMail>> mails;
  size_t taken = 0;
  while (taken < 200) {
    if (mails.size() == taken) mails.push_back(std::make_unique<FakeMail>(taken + 1));
    const postbus_mail* const offered[] = {&mails[taken]->view()};
    taken += transport_->Submit(offered);
  }
  ASSERT_TRUE(host_.WaitForCompletions(200));
  while (transport_->Outstanding() != 0) std::this_thread::yield();
  std::set<std::string> expected;
  for (const auto& mail : mails) expected.insert(FileName(mail->view()));
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
