// Sending without a queue: the real pipeline and plugins, an SMTP server that does what its recipients say.
#include "postbus/direct.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <thread>
#include <tuple>
#include <vector>

#include "tests/support/smtp/scripted_smtp_server.h"

namespace postbus {
namespace {

using namespace std::chrono_literals;
using Answer = Result<std::string>;

class DirectTest : public ::testing::Test {
 protected:
  explicit DirectTest(testing::ScriptedSmtpOptions options = {}) : server_(std::move(options)) {
    std::string name = ::testing::TempDir() + "direct-XXXXXX";
    directory_ = mkdtemp(name.data());
    std::ofstream(directory_ / "direct.yaml")
        << "version: 1\n"
           "queue: { type: kafka, kafka: { brokers: 127.0.0.1:1 } }\n"
           "defaults: { from: Usual Store <noreply@usualstore.com> }\n"
           "renderer: { plugin: ctemplate, options: { directory: " POSTBUS_SOURCE_DIR
           "/templates } }\n"
           "transports: { primary: { plugin: smtp, options: { host: 127.0.0.1, port: "
        << server_.port()
        << ", tls: none } } }\n"
           "log: { level: error }\n";
    setenv("KAFKA_ENABLED", "false", 1);
  }
  ~DirectTest() override {
    unsetenv("KAFKA_ENABLED");
    std::filesystem::remove_all(directory_);
  }

  std::string config() const { return directory_ / "direct.yaml"; }
  std::unique_ptr<Sender> Open() {
    auto sender = OpenSender(config());
    EXPECT_TRUE(sender.ok()) << sender.status().message();
    return sender.ok() ? std::move(*sender) : nullptr;
  }
  static std::future<Answer> Send(Sender& sender, const std::string& to, std::string_view template_name = "welcome") {
    return sender.SendEmail("", to, "Hello", template_name,
                            TemplateData::FromJson(R"({"Name":"Ada","Link":"https://usualstore.com/"})"));
  }
  static Answer Await(std::future<Answer> future) {
    if (future.wait_for(90s) != std::future_status::ready) return Status::Internal("no answer in 90 s");
    return future.get();
  }

  testing::ScriptedSmtpServer server_;
  std::filesystem::path directory_;
};

TEST_F(DirectTest, SuccessMeansThatTheServerHasTheMail) {
  auto sender = Open();
  ASSERT_NE(sender, nullptr);
  const Answer id = Await(Send(*sender, "ada@example.com"));
  ASSERT_TRUE(id.ok()) << id.status().message();
  const auto mails = server_.complete();
  ASSERT_EQ(mails.size(), 1u);
  EXPECT_EQ(mails[0].message_id, "<" + *id + "@usualstore.com>");
  EXPECT_EQ(mails[0].sender, "noreply@usualstore.com");
  EXPECT_NE(mails[0].raw.find("Ada"), std::string::npos);
}

TEST_F(DirectTest, ARefusalIsToldWithTheServersWordsAndWithoutAddresses) {
  auto sender = Open();
  ASSERT_NE(sender, nullptr);
  const Answer answer = Await(Send(*sender, "rcpt-550@example.com"));
  ASSERT_FALSE(answer.ok());
  EXPECT_EQ(answer.status().kind(), ErrorKind::kInvalid);
  EXPECT_TRUE(answer.status().message().starts_with("not sent: rejected_recipient 550 ")) << answer.status().message();
  EXPECT_EQ(answer.status().message().find("example.com"), std::string::npos) << answer.status().message();
}

TEST_F(DirectTest, WhatMayWorkLaterIsNotTriedAgain) {
  auto sender = Open();
  ASSERT_NE(sender, nullptr);
  const Answer answer = Await(Send(*sender, "rcpt-450@example.com"));
  ASSERT_FALSE(answer.ok());
  EXPECT_EQ(answer.status().kind(), ErrorKind::kUnavailable);
  EXPECT_TRUE(answer.status().message().starts_with("not sent: transient 450 ")) << answer.status().message();
  EXPECT_EQ(server_.complete().size(), 0u);
}

TEST_F(DirectTest, NothingWaitsForATimeToComeAndNothingIsSentTooLate) {
  auto sender = Open();
  ASSERT_NE(sender, nullptr);
  const auto send = [&](const std::string& field, const std::string& time) {
    return Await(sender->SendMessage(R"({"from":"a@example.com","to":"b@example.com","subject":"s","text":"t",")" +
                                     field + "\":\"" + time + "\"}"));
  };
  const time_t in_an_hour = time(nullptr) + 3600;
  char later[32];
  strftime(later, sizeof later, "%Y-%m-%dT%H:%M:%SZ", gmtime(&in_an_hour));
  for (const auto& [field, time, reason] :
       {std::tuple{"scheduled_at", static_cast<const char*>(later), "not sent: it is scheduled for later"},
        std::tuple{"expires_at", "2025-12-25T20:00:00Z", "not sent: expired"}}) {
    const Answer answer = send(field, time);
    ASSERT_FALSE(answer.ok());
    EXPECT_EQ(answer.status().kind(), ErrorKind::kInvalid);
    EXPECT_TRUE(answer.status().message().starts_with(reason)) << answer.status().message();
  }
  EXPECT_EQ(server_.complete().size(), 0u);
  EXPECT_TRUE(send("scheduled_at", "2025-12-25T20:00:00Z").ok());
}

TEST_F(DirectTest, NoReplyAfterTheDotIsUncertain) {
  auto sender = Open();
  ASSERT_NE(sender, nullptr);
  const Answer answer = Await(Send(*sender, "dot-fin@example.com"));
  ASSERT_FALSE(answer.ok());
  EXPECT_EQ(answer.status().kind(), ErrorKind::kUncertain) << answer.status().message();
  EXPECT_EQ(server_.complete().size(), 1u);
}

TEST_F(DirectTest, SaysToHowManyItWasNotSent) {
  auto sender = Open();
  ASSERT_NE(sender, nullptr);
  const Answer answer = Await(sender->SendMessage(
      R"({"to":["ada@example.com","rcpt-550@example.com","bob@example.com"],"subject":"s","template":"welcome",)"
      R"("data":{"Name":"Ada","Link":"https://usualstore.com/"}})"));
  ASSERT_FALSE(answer.ok());
  EXPECT_TRUE(answer.status().message().starts_with("not sent to 1 of 3 recipients: rejected_recipient"))
      << answer.status().message();
  ASSERT_EQ(server_.complete().size(), 1u);
  EXPECT_EQ(server_.complete()[0].recipients.size(), 2u);
}

TEST_F(DirectTest, AnUnknownTemplateIsRefused) {
  auto sender = Open();
  ASSERT_NE(sender, nullptr);
  const Answer answer = Await(Send(*sender, "ada@example.com", "no-such-template"));
  ASSERT_FALSE(answer.ok());
  EXPECT_EQ(answer.status().kind(), ErrorKind::kInvalid);
  EXPECT_NE(answer.status().message().find("render_error: "), std::string::npos) << answer.status().message();
}

TEST_F(DirectTest, FlushWaitsForMailsOfManyThreads) {
  auto sender = Open();
  ASSERT_NE(sender, nullptr);
  std::atomic<int> told{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int n = 0; n < 100; ++n) {
        const auto taken = sender->SendMessage(
            R"({"to":"ada@example.com","subject":"s","template":"welcome","data":{"Name":"Ada","Link":"https://usualstore.com/"}})",
            [&told](const Status& status) { told += status.ok() ? 1 : 1'000; });
        EXPECT_TRUE(taken.ok());
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_TRUE(sender->Flush(90s));
  EXPECT_EQ(told, 400);
  EXPECT_EQ(server_.complete().size(), 400u);
}

class DirectToADeadServerTest : public DirectTest {
 protected:
  DirectToADeadServerTest() : DirectTest({.greeting = "fin"}) {}
};

TEST_F(DirectToADeadServerTest, IsGivenUpSoon) {
  auto sender = Open();
  ASSERT_NE(sender, nullptr);
  const Answer answer = Await(Send(*sender, "ada@example.com"));
  ASSERT_FALSE(answer.ok());
  EXPECT_EQ(answer.status().kind(), ErrorKind::kUnavailable) << answer.status().message();
  EXPECT_TRUE(answer.status().message().starts_with("not sent: provider_fault")) << answer.status().message();
}

TEST_F(DirectToADeadServerTest, TheEndTellsOfWhatIsLeft) {
  auto sender = Open();
  ASSERT_NE(sender, nullptr);
  std::vector<std::future<Answer>> left;
  for (int i = 0; i < 20; ++i) left.push_back(Send(*sender, "ada@example.com"));
  EXPECT_FALSE(sender->Flush(1ms));
  sender.reset();
  for (auto& each : left) {
    ASSERT_EQ(each.wait_for(0s), std::future_status::ready);
    const Answer answer = each.get();
    ASSERT_FALSE(answer.ok());
    EXPECT_EQ(answer.status().kind(), ErrorKind::kUnavailable) << answer.status().message();
  }
}

TEST_F(DirectTest, AWrongConfigurationSaysWhere) {
  std::ofstream(directory_ / "direct.yaml", std::ios::app) << "nonsense: 1\n";
  const auto sender = OpenSender(config());
  ASSERT_FALSE(sender.ok());
  EXPECT_NE(sender.status().message().find("direct.yaml:7:1: nonsense: unknown key"), std::string::npos)
      << sender.status().message();
}

TEST_F(DirectTest, WithoutTheVariableTheQueueOfTheFileIsUsed) {
  unsetenv("KAFKA_ENABLED");
  std::ofstream(directory_ / "sqlite.yaml")
      << "version: 1\nqueue: { type: sqlite, sqlite: { path: postbus.db } }\n"
         "renderer: { plugin: ctemplate, options: { directory: " POSTBUS_SOURCE_DIR
         "/templates } }\n"
         "transports: { primary: { plugin: smtp, options: { host: 127.0.0.1, port: "
      << server_.port() << ", tls: none } } }\nlog: { level: error }\n";
  auto sender = OpenSender(directory_ / "sqlite.yaml");
  ASSERT_TRUE(sender.ok()) << sender.status().message();
  const Answer id = Await(Send(**sender, "ada@example.com"));
  EXPECT_TRUE(id.ok()) << id.status().message();
  sender = Status::Internal("");
  EXPECT_TRUE(std::filesystem::exists(directory_ / "postbus.db"));
  EXPECT_EQ(server_.connections(), 0u) << "it was sent, not queued";
}

}  // namespace
}  // namespace postbus
