// The SMTP transport against a server on loopback: reuse, order, limits, and what the host asks of any transport.
#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <fstream>
#include <map>
#include <random>
#include <set>
#include <thread>
#include <tuple>

#include "tests/support/smtp/scripted_smtp_server.h"
#include "tests/support/smtp/smtp_plugin.h"

extern char** environ;

namespace postbus::testing {
namespace {

using sdk::testing::Completion;
using sdk::testing::FakeHost;
using sdk::testing::FakeMail;
using namespace std::chrono_literals;

SmtpPlugin::Given For(uint16_t port, SmtpPlugin::Given given = {}) {
  given.insert({{"host", std::string("127.0.0.1")},
                {"port", int64_t{port}},
                {"tls", std::string("none")},
                {"helo_name", std::string("test.example")}});
  return given;
}

// The raw mail of FakeMail has no Message-ID, by which the ledger knows it.
FakeMail Mail(uint64_t number) {
  FakeMail mail(number);
  mail.raw = "Message-ID: <event-" + std::to_string(number) + "@example.com>\r\nSubject: Hello\r\n\r\nHello\r\n";
  return mail;
}

std::string IdOf(uint64_t number) { return "<event-" + std::to_string(number) + "@example.com>"; }

template <typename Condition>
bool Eventually(Condition condition, std::chrono::milliseconds limit = 20s) {
  const auto end = std::chrono::steady_clock::now() + limit;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::sleep_for(1ms);
  }
  return true;
}

uint16_t FreePort() {
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  EXPECT_EQ(bind(fd, reinterpret_cast<sockaddr*>(&address), size), 0);
  EXPECT_EQ(getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size), 0);
  close(fd);
  return ntohs(address.sin_port);
}

TEST(SmtpTransport, SendsAMail) {
  ScriptedSmtpServer server;
  FakeHost host;
  FakeMail mail = Mail(1);
  SmtpPlugin plugin(host.abi(), For(server.port()));
  ASSERT_EQ(plugin.Submit(mail.view()), 1u);
  ASSERT_TRUE(host.WaitForCompletions(1));
  EXPECT_EQ(host.completions()[0].outcome.outcome, POSTBUS_ACCEPTED);
  EXPECT_EQ(host.completions()[0].outcome.provider_id, "S0");
  EXPECT_EQ(host.asked(), std::vector<uint64_t>{1});
  ASSERT_EQ(server.complete().size(), 1u);
  EXPECT_EQ(server.complete()[0].raw, mail.raw);
  EXPECT_EQ(server.complete()[0].recipients, std::vector<std::string>{"a@example.org"});
  EXPECT_TRUE(Eventually([&] { return plugin.Outstanding() == 0; }));
}

TEST(SmtpTransport, ResolvesTheServersName) {
  ScriptedSmtpServer server;
  FakeHost host;
  FakeMail mail = Mail(1);
  SmtpPlugin plugin(host.abi(), For(server.port(), {{"host", std::string("localhost")}}));
  plugin.Submit(mail.view());
  ASSERT_TRUE(host.WaitForCompletions(1));
  EXPECT_EQ(host.completions()[0].outcome.outcome, POSTBUS_ACCEPTED);
}

TEST(SmtpTransport, RefusesOptionsThatCannotBe) {
  FakeHost host;
  EXPECT_THROW(SmtpPlugin(host.abi(), For(25, {{"host", std::string("a b")}})), std::runtime_error);
  EXPECT_THROW(SmtpPlugin(host.abi(), For(25, {{"helo_name", std::string("a\r\nb")}})), std::runtime_error);
}

TEST(SmtpTransport, UsesOneConnectionForMailsOneAfterTheOther) {
  ScriptedSmtpServer server;
  FakeHost host;
  std::vector<FakeMail> mails;
  for (uint64_t i = 1; i <= 20; ++i) mails.push_back(Mail(i));
  SmtpPlugin plugin(host.abi(), For(server.port()));
  for (size_t i = 0; i < mails.size(); ++i) {
    plugin.Submit(mails[i].view());
    ASSERT_TRUE(host.WaitForCompletions(i + 1));
  }
  EXPECT_EQ(server.connections(), 1u);
  EXPECT_EQ(server.complete().size(), 20u);
}

TEST(SmtpTransport, ReplacesAConnectionAfterItsShareOfMails) {
  ScriptedSmtpServer server;
  FakeHost host;
  std::vector<FakeMail> mails;
  for (uint64_t i = 1; i <= 10; ++i) mails.push_back(Mail(i));
  SmtpPlugin plugin(host.abi(), For(server.port(), {{"max_messages_per_connection", 3}, {"max_connections", 1}}));
  for (FakeMail& mail : mails) plugin.Submit(mail.view());
  ASSERT_TRUE(host.WaitForCompletions(10));
  for (const Completion& completion : host.completions()) EXPECT_EQ(completion.outcome.outcome, POSTBUS_ACCEPTED);
  EXPECT_EQ(server.connections(), 4u);
  const std::vector<std::string> commands = server.commands();
  EXPECT_GE(std::count(commands.begin(), commands.end(), "QUIT"), 3);
}

TEST(SmtpTransport, QuitsAnIdleConnection) {
  ScriptedSmtpServer server;
  FakeHost host;
  FakeMail mail = Mail(1);
  SmtpPlugin plugin(host.abi(), For(server.port(), {{"idle_timeout", 200}}));
  plugin.Submit(mail.view());
  EXPECT_TRUE(Eventually([&] {
    const std::vector<std::string> commands = server.commands();
    return !commands.empty() && commands.back() == "QUIT";
  }));
}

TEST(SmtpTransport, TriesAnotherConnectionWhereAUsedOneIsFoundDead) {
  ScriptedSmtpServer server({.close_after = 1});
  FakeHost host;
  std::vector<FakeMail> mails;
  for (uint64_t i = 1; i <= 5; ++i) mails.push_back(Mail(i));
  SmtpPlugin plugin(host.abi(), For(server.port()));
  for (size_t i = 0; i < mails.size(); ++i) {
    plugin.Submit(mails[i].view());
    ASSERT_TRUE(host.WaitForCompletions(i + 1));
  }
  for (const Completion& completion : host.completions()) EXPECT_EQ(completion.outcome.outcome, POSTBUS_ACCEPTED);
  EXPECT_EQ(server.complete().size(), 5u);
  EXPECT_EQ(server.connections(), 5u);
}

TEST(SmtpTransport, FailsWhatWaitsWhereNoConnectionCanBeHad) {
  const uint16_t port = FreePort();
  FakeHost host;
  std::vector<FakeMail> mails;
  for (uint64_t i = 1; i <= 200; ++i) mails.push_back(Mail(i));
  SmtpPlugin plugin(host.abi(), For(port, {{"max_connections", 2}}));
  for (FakeMail& mail : mails) ASSERT_EQ(plugin.Submit(mail.view()), 1u);
  ASSERT_TRUE(host.WaitForCompletions(200));
  for (const Completion& completion : host.completions()) {
    EXPECT_EQ(completion.outcome.outcome, POSTBUS_PROVIDER_FAULT);
    EXPECT_EQ(completion.outcome.phase, POSTBUS_PHASE_CONNECT);
    EXPECT_EQ(completion.outcome.text, "connect to 127.0.0.1:" + std::to_string(port) + ": Connection refused");
  }
  EXPECT_EQ(host.logs().size(), 1u) << "an outage is said once";
}

TEST(SmtpTransport, DoesNotHammerAServerThatRefuses) {
  ScriptedSmtpServer server({.greeting = "554"});
  FakeHost host;
  std::vector<FakeMail> mails;
  for (uint64_t i = 1; i <= 1000; ++i) mails.push_back(Mail(i));
  SmtpPlugin plugin(host.abi(), For(server.port()));
  const auto end = std::chrono::steady_clock::now() + 1s;
  size_t sent = 0;
  while (std::chrono::steady_clock::now() < end && sent < mails.size()) {
    plugin.Submit(mails[sent].view());
    ASSERT_TRUE(host.WaitForCompletions(++sent));
  }
  for (const Completion& completion : host.completions()) {
    EXPECT_EQ(completion.outcome.outcome, POSTBUS_PROVIDER_FAULT);
    EXPECT_EQ(completion.outcome.phase, POSTBUS_PHASE_GREETING);
    EXPECT_EQ(completion.outcome.code, 554);
  }
  EXPECT_LE(server.connections(), 6u) << "at 0, 100, 300, 700, 1500 ms";
}

TEST(SmtpTransport, GivesUpConnecting) {
  // A listener with a full queue: the kernel answers no further SYN.
  const int listener = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  ASSERT_EQ(bind(listener, reinterpret_cast<sockaddr*>(&address), size), 0);
  ASSERT_EQ(listen(listener, 0), 0);
  ASSERT_EQ(getsockname(listener, reinterpret_cast<sockaddr*>(&address), &size), 0);
  std::vector<int> fillers;
  for (int i = 0; i < 5; ++i) {
    fillers.push_back(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0));
    std::ignore = connect(fillers.back(), reinterpret_cast<sockaddr*>(&address), sizeof address);
  }
  FakeHost host;
  FakeMail mail = Mail(1);
  SmtpPlugin plugin(host.abi(), For(ntohs(address.sin_port), {{"connect_timeout", 300}}));
  plugin.Submit(mail.view());
  ASSERT_TRUE(host.WaitForCompletions(1));
  EXPECT_EQ(host.completions()[0].outcome.outcome, POSTBUS_PROVIDER_FAULT);
  EXPECT_EQ(host.completions()[0].outcome.phase, POSTBUS_PHASE_CONNECT);
  EXPECT_TRUE(host.completions()[0].outcome.text.ends_with("no answer within 300 ms"));
  for (const int fd : fillers) close(fd);
  close(listener);
}

TEST(SmtpTransport, FailsMailsWhenTheServerIsGone) {
  ScriptedSmtpServer server;
  const uint16_t port = server.port();
  FakeHost host;
  FakeMail first = Mail(1);
  FakeMail second = Mail(2);
  SmtpPlugin plugin(host.abi(), For(port));
  plugin.Submit(first.view());
  ASSERT_TRUE(host.WaitForCompletions(1));
  server.Stop();
  plugin.Submit(second.view());
  ASSERT_TRUE(host.WaitForCompletions(2));
  EXPECT_EQ(host.completions()[1].outcome.outcome, POSTBUS_PROVIDER_FAULT);
}

TEST(SmtpTransport, SaysWhenThereIsRoomAgain) {
  ScriptedSmtpServer server({.dot_delay_ms = 1});
  FakeHost host;
  std::vector<FakeMail> mails;
  for (uint64_t i = 1; i <= 300; ++i) mails.push_back(Mail(i));
  std::vector<const postbus_mail*> views;
  for (FakeMail& mail : mails) views.push_back(&mail.view());
  SmtpPlugin plugin(host.abi(), For(server.port(), {{"max_connections", 1}}));
  const uint32_t taken = plugin.Submit(views);
  EXPECT_EQ(taken, 120u) << "of 128, 8 are for high ones";
  ASSERT_TRUE(host.WaitForWritable());
  EXPECT_EQ(host.writable_calls(), 1u);
  EXPECT_GE(plugin.Submit(std::span(views).subspan(taken, 56)), 56u);
  ASSERT_TRUE(host.WaitForCompletions(176));
  EXPECT_EQ(server.complete().size(), 176u);
}

TEST(SmtpTransport, DoesNotSendWhatTheHostDoesNotPermit) {
  ScriptedSmtpServer server;
  FakeHost host;
  std::vector<FakeMail> mails;
  for (uint64_t i = 1; i <= 20; ++i) {
    mails.push_back(Mail(i));
    if (i % 3 == 0) host.Abort(i);
  }
  SmtpPlugin plugin(host.abi(), For(server.port(), {{"max_connections", 1}}));
  for (FakeMail& mail : mails) plugin.Submit(mail.view());
  ASSERT_TRUE(host.WaitForCompletions(20));
  std::set<std::string> sent;
  for (const LedgerEntry& entry : server.complete()) EXPECT_TRUE(sent.insert(entry.message_id).second);
  for (uint64_t i = 1; i <= 20; ++i) {
    ASSERT_EQ(host.completions(i).size(), 1u);
    EXPECT_EQ(host.completions(i)[0].outcome.outcome, i % 3 == 0 ? POSTBUS_NOT_SENT : POSTBUS_ACCEPTED) << i;
    EXPECT_EQ(sent.contains(IdOf(i)), i % 3 != 0);
  }
  EXPECT_TRUE(Eventually([&] {
    const std::vector<LedgerEntry> ledger = server.ledger();
    return std::count_if(ledger.begin(), ledger.end(), [](const LedgerEntry& entry) { return entry.reset; }) == 6;
  })) << "not with a FIN, which a careless server takes for the end of the mail";
}

TEST(SmtpTransport, GivesUpAtTheDeadline) {
  ScriptedSmtpServer server;
  FakeHost host;
  FakeMail hanging = Mail(1);
  hanging.sender = "mail-hang@x";
  hanging.deadline_ms = host.NowMs() + 400;
  FakeMail queued = Mail(2);
  queued.deadline_ms = host.NowMs() + 400;
  FakeMail late = Mail(3);
  late.deadline_ms = host.NowMs() - 1;
  SmtpPlugin plugin(host.abi(), For(server.port(), {{"max_connections", 1}}));
  plugin.Submit(hanging.view());
  plugin.Submit(queued.view());
  plugin.Submit(late.view());
  ASSERT_TRUE(host.WaitForCompletions(3));
  for (const Completion& completion : host.completions()) {
    EXPECT_EQ(completion.outcome.outcome, POSTBUS_NOT_SENT);
    EXPECT_EQ(completion.outcome.text, "its deadline passed");
  }
  EXPECT_TRUE(server.complete().empty());
}

TEST(SmtpTransport, TakesMailsBack) {
  ScriptedSmtpServer server;
  FakeHost host;
  std::vector<FakeMail> mails;
  for (uint64_t i = 1; i <= 10; ++i) mails.push_back(Mail(i));
  mails[0].sender = "mail-hang@x";
  SmtpPlugin plugin(host.abi(), For(server.port(), {{"max_connections", 1}}));
  for (FakeMail& mail : mails) plugin.Submit(mail.view());
  ASSERT_TRUE(Eventually([&] { return server.commands().size() >= 2; }));
  std::vector<uint64_t> tokens = {77};
  for (uint64_t i = 1; i <= 10; ++i) tokens.push_back(i);
  plugin.Cancel(tokens);
  ASSERT_TRUE(host.WaitForCompletions(10));
  EXPECT_TRUE(Eventually([&] { return plugin.Outstanding() == 0; }));
  for (const Completion& completion : host.completions()) EXPECT_EQ(completion.outcome.outcome, POSTBUS_NOT_SENT);
}

TEST(SmtpTransport, QuiescesAtTheDeadline) {
  ScriptedSmtpServer server;
  FakeHost host;
  std::vector<FakeMail> mails;
  for (uint64_t i = 1; i <= 20; ++i) mails.push_back(Mail(i));
  mails[0].recipients = {"dot-hang@x"};
  SmtpPlugin plugin(host.abi(), For(server.port(), {{"max_connections", 1}}));
  for (FakeMail& mail : mails) plugin.Submit(mail.view());
  ASSERT_TRUE(Eventually([&] { return server.complete().size() == 1; }));
  plugin.Quiesce(host.NowMs() + 300);
  ASSERT_TRUE(host.WaitForCompletions(20));
  EXPECT_EQ(host.completions(1).at(0).outcome.outcome, POSTBUS_IN_DOUBT);
  for (uint64_t i = 2; i <= 20; ++i) EXPECT_EQ(host.completions(i).at(0).outcome.outcome, POSTBUS_NOT_SENT);
  EXPECT_TRUE(Eventually([&] { return plugin.Outstanding() == 0; }));
}

TEST(SmtpTransport, LeavesNoMailBehindASlowOne) {
  ScriptedSmtpServer server;
  FakeHost host;
  std::vector<FakeMail> mails;
  for (uint64_t i = 1; i <= 10; ++i) mails.push_back(Mail(i));
  mails[0].recipients = {"dot-hang@x"};
  std::vector<const postbus_mail*> views;
  for (FakeMail& mail : mails) views.push_back(&mail.view());
  SmtpPlugin plugin(host.abi(), For(server.port(), {{"max_connections", 3}}));
  plugin.Submit(views);
  ASSERT_TRUE(host.WaitForCompletions(9));
  for (const Completion& completion : host.completions()) {
    EXPECT_NE(completion.token, 1u);
    EXPECT_EQ(completion.outcome.outcome, POSTBUS_ACCEPTED);
  }
  EXPECT_TRUE(Eventually([&] { return server.complete().size() == 10; }));  // the slow one may be the last
}

TEST(SmtpTransport, FinishesWhatItHasWhenQuiesced) {
  ScriptedSmtpServer server({.dot_delay_ms = 5});
  FakeHost host;
  std::vector<FakeMail> mails;
  for (uint64_t i = 1; i <= 50; ++i) mails.push_back(Mail(i));
  SmtpPlugin plugin(host.abi(), For(server.port(), {{"max_connections", 3}}));
  for (FakeMail& mail : mails) plugin.Submit(mail.view());
  plugin.Quiesce(host.NowMs() + 20'000);
  ASSERT_TRUE(host.WaitForCompletions(50));
  for (const Completion& completion : host.completions()) EXPECT_EQ(completion.outcome.outcome, POSTBUS_ACCEPTED);
  EXPECT_TRUE(Eventually([&] {
    const std::vector<std::string> commands = server.commands();
    return std::count(commands.begin(), commands.end(), "QUIT") == static_cast<int>(server.connections());
  }));
}

TEST(SmtpTransport, EndsWhatIsLeftWhenDestroyed) {
  ScriptedSmtpServer server;
  FakeHost host;
  std::vector<FakeMail> mails;
  for (uint64_t i = 1; i <= 20; ++i) mails.push_back(Mail(i));
  mails[0].recipients = {"dot-hang@x"};
  {
    SmtpPlugin plugin(host.abi(), For(server.port(), {{"max_connections", 1}}));
    for (FakeMail& mail : mails) plugin.Submit(mail.view());
    ASSERT_TRUE(Eventually([&] { return server.complete().size() == 1; }));
  }
  EXPECT_EQ(host.completions().size(), 20u);
  EXPECT_EQ(host.completions(1).at(0).outcome.outcome, POSTBUS_IN_DOUBT);
}

TEST(SmtpTransport, Probes) {
  FakeHost host;
  std::string report;
  {
    ScriptedSmtpServer server;
    SmtpPlugin plugin(host.abi(), For(server.port()));
    EXPECT_TRUE(plugin.Probe(host.NowMs() + 10'000, report)) << report;
    EXPECT_TRUE(server.ledger().empty());
  }
  {
    ScriptedSmtpServer server({.greeting = "554"});
    SmtpPlugin plugin(host.abi(), For(server.port()));
    EXPECT_FALSE(plugin.Probe(host.NowMs() + 10'000, report));
    EXPECT_EQ(report, "refused");
  }
  report.clear();
  {
    ScriptedSmtpServer server({.greeting = "hang"});
    SmtpPlugin plugin(host.abi(), For(server.port()));
    EXPECT_FALSE(plugin.Probe(host.NowMs() + 300, report));
    EXPECT_EQ(report, "not ready for a mail before the deadline");
  }
}

TEST(SmtpTransport, SharesConnectionsBetweenThreads) {
  ScriptedSmtpServer server;
  FakeHost host;
  std::vector<FakeMail> mails;
  for (uint64_t i = 1; i <= 300; ++i) mails.push_back(Mail(i));
  std::vector<const postbus_mail*> views;
  for (FakeMail& mail : mails) views.push_back(&mail.view());
  SmtpPlugin plugin(host.abi(), For(server.port(), {{"max_connections", 6}, {"io_threads", 3}}));
  EXPECT_EQ(plugin.Submit(views), 300u);
  ASSERT_TRUE(host.WaitForCompletions(300));
  std::set<std::string> sent;
  for (const LedgerEntry& entry : server.complete()) EXPECT_TRUE(sent.insert(entry.message_id).second);
  EXPECT_EQ(sent.size(), 300u);
  EXPECT_EQ(server.connections(), 3u) << "one of the two that each thread has is for high mails";
}

FakeMail HighMail(uint64_t number) {
  FakeMail mail = Mail(number);
  mail.flags |= POSTBUS_MAIL_HIGH;
  return mail;
}

// All connections but those kept for high mails wait for replies that never come.
TEST(SmtpTransport, AHighMailDoesNotWaitForTheRepliesToOthers) {
  for (const int64_t threads : {1, 8}) {
    ScriptedSmtpServer server;
    FakeHost host;
    std::vector<FakeMail> mails;
    for (uint64_t i = 1; i <= 40; ++i) {
      mails.push_back(Mail(i));
      mails.back().recipients = {"dot-hang@x"};
      if (i % 2 == 0) mails.back().flags |= POSTBUS_MAIL_LOW;
    }
    for (uint64_t i = 41; i <= 60; ++i) mails.push_back(HighMail(i));
    SmtpPlugin plugin(host.abi(), For(server.port(), {{"max_connections", 4}, {"io_threads", threads}}));
    for (size_t i = 0; i < 40; ++i) ASSERT_EQ(plugin.Submit(mails[i].view()), 1u);
    const size_t for_others = threads == 1 ? 3 : 2;  // two threads with two connections each
    ASSERT_TRUE(Eventually([&] { return server.complete().size() == for_others; }));
    for (size_t i = 40; i < 60; ++i) ASSERT_EQ(plugin.Submit(mails[i].view()), 1u);
    ASSERT_TRUE(host.WaitForCompletions(20)) << threads << " threads";
    for (const Completion& completion : host.completions()) {
      EXPECT_GT(completion.token, 40u);
      EXPECT_EQ(completion.outcome.outcome, POSTBUS_ACCEPTED);
    }
    EXPECT_EQ(server.complete().size(), for_others + 20) << "the others wait for each other";
    EXPECT_LE(server.connections(), 4u);
  }
}

// With one connection none can be kept for high mails: they have the next turn on it.
TEST(SmtpTransport, AHighMailIsTheNextOnTheOnlyConnection) {
  ScriptedSmtpServer server({.dot_delay_ms = 20});
  FakeHost host;
  std::vector<FakeMail> mails;
  for (uint64_t i = 1; i <= 30; ++i) mails.push_back(Mail(i));
  mails.push_back(HighMail(31));
  mails.back().recipients = {"high@x"};
  SmtpPlugin plugin(host.abi(), For(server.port(), {{"max_connections", 1}}));
  for (size_t i = 0; i < 30; ++i) ASSERT_EQ(plugin.Submit(mails[i].view()), 1u);
  ASSERT_TRUE(Eventually([&] { return server.complete().size() >= 2; }));
  ASSERT_EQ(plugin.Submit(mails[30].view()), 1u);
  const size_t before = server.complete().size();
  ASSERT_TRUE(host.WaitForCompletions(31));
  const auto complete = server.complete();
  const auto high = std::find_if(complete.begin(), complete.end(),
                                 [](const auto& entry) { return entry.recipients.front() == "high@x"; });
  ASSERT_NE(high, complete.end());
  EXPECT_LE(static_cast<size_t>(high - complete.begin()), before + 2)
      << "behind the one that is sent and the one ahead";
}

TEST(SmtpTransport, KeepsRoomForHighMails) {
  ScriptedSmtpServer server;
  FakeHost host;
  std::vector<FakeMail> mails;
  std::vector<const postbus_mail*> others;
  std::vector<const postbus_mail*> high_first;
  for (uint64_t i = 1; i <= 320; ++i) mails.push_back(i <= 280 ? Mail(i) : HighMail(i));
  for (FakeMail& mail : mails) mail.recipients = {"dot-hang@x"};
  for (size_t i = 0; i < 260; ++i) others.push_back(&mails[i].view());
  for (size_t i = 280; i < 290; ++i) high_first.push_back(&mails[i].view());
  for (size_t i = 260; i < 280; ++i) high_first.push_back(&mails[i].view());
  SmtpPlugin plugin(host.abi(), For(server.port(), {{"max_connections", 2}}));
  EXPECT_EQ(plugin.Submit(others), 240u) << "of 256";
  EXPECT_EQ(plugin.Submit(high_first), 10u);
  std::vector<const postbus_mail*> high;
  for (size_t i = 290; i < 320; ++i) high.push_back(&mails[i].view());
  EXPECT_EQ(plugin.Submit(high), 6u) << "what was left";
}

// Of all sockets of this process that are connected to `port`.
void ShrinkSendBuffers(uint16_t port) {
  for (int fd = 3; fd < 1024; ++fd) {
    sockaddr_in peer{};
    socklen_t size = sizeof peer;
    if (getpeername(fd, reinterpret_cast<sockaddr*>(&peer), &size) != 0 || ntohs(peer.sin_port) != port) continue;
    const int bytes = 4096;
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes);
  }
}

// A host whose clock jumps 2 s with each permission, so that each has lapsed when a write goes on after a wait.
class SmtpPermission : public ::testing::TestWithParam<bool> {};
INSTANTIATE_TEST_SUITE_P(InTheClearAndByTls, SmtpPermission, ::testing::Bool());

TEST_P(SmtpPermission, IsAskedForAgainWhereItLapsed) {
  const bool tls = GetParam();
  TestCa ca;
  ScriptedSmtpServer server(
      {.certificate = tls ? ca.Issue("IP:127.0.0.1") : Certificate(), .body_pause_ms = 100, .receive_buffer = 4096});
  struct LapsingHost {
    FakeHost inner;
    std::atomic<int> asked = 0;
    postbus_host abi = *inner.abi();
  } host;
  host.abi.ctx = &host;
  host.abi.log = [](void*, int32_t, postbus_str) {};
  host.abi.now_ms = [](void* ctx) { return static_cast<LapsingHost*>(ctx)->inner.NowMs(); };
  host.abi.permit_send = [](void* ctx, const uint64_t*, uint8_t* verdicts, uint32_t n) {
    auto* self = static_cast<LapsingHost*>(ctx);
    self->asked += static_cast<int>(n);
    std::fill_n(verdicts, n, uint8_t{POSTBUS_GO});
    self->inner.Advance(2s);
  };
  host.abi.complete = [](void* ctx, uint64_t token, const postbus_result* result) {
    const postbus_host* inner_abi = static_cast<LapsingHost*>(ctx)->inner.abi();
    inner_abi->complete(inner_abi->ctx, token, result);
  };
  FakeMail first = Mail(1);
  FakeMail second = Mail(2);
  while (second.raw.size() < 60'000) second.raw += ".a line of a long mail\r\n";
  SmtpPlugin::Given given = {{"max_connections", 1}};
  if (tls) given.insert({{"tls", std::string("starttls")}, {"tls_ca_file", ca.file()}});
  SmtpPlugin plugin(&host.abi, For(server.port(), given));
  plugin.Submit(first.view());
  ASSERT_TRUE(host.inner.WaitForCompletions(1));
  EXPECT_EQ(host.asked, 1);
  // A mail larger than what fits into the socket's buffers, so that its writing waits for the server.
  ShrinkSendBuffers(server.port());
  plugin.Submit(second.view());
  ASSERT_TRUE(host.inner.WaitForCompletions(2));
  EXPECT_EQ(host.inner.completions()[1].outcome.outcome, POSTBUS_ACCEPTED);
  EXPECT_GE(host.asked, 3);
  ASSERT_EQ(server.complete().size(), 2u);
  EXPECT_GT(server.complete()[1].raw.size(), second.raw.size()) << "stuffed";
}

TEST(SmtpTransport, SendsLargeMails) {
  ScriptedSmtpServer server;
  FakeHost host;
  std::vector<FakeMail> mails;
  for (uint64_t i = 1; i <= 3; ++i) {
    mails.push_back(Mail(i));
    while (mails.back().raw.size() < (size_t{6} << 20)) mails.back().raw += "a line of a long mail\r\n";
  }
  SmtpPlugin plugin(host.abi(), For(server.port(), {{"max_connections", 1}}));
  for (FakeMail& mail : mails) plugin.Submit(mail.view());
  ASSERT_TRUE(host.WaitForCompletions(3, 60s));
  ASSERT_EQ(server.complete().size(), 3u);
  for (size_t i = 0; i < 3; ++i) EXPECT_TRUE(server.complete()[i].raw == mails[i].raw);
}

TEST(SmtpTransport, SmugglesNothing) {
  using std::string_literals::operator""s;
  // What a server might take for the end of the mail, and a mail behind it.
  const std::vector<std::string> ends = {"\r\n.\r\n",   "\n.\n",          "\n.\r\n",
                                         "\r\n.\n",     "\r.\r",          "\r.\r\n",
                                         "\r\n.\r",     "\n\n.\r\n",      "\r\n.\r\r\n",
                                         "\r\r\n.\r\n", "\r\n\0.\r\n"s,   "\r\n.\0\r\n"s,
                                         "\r\n..\r\n",  "\r\n .\r\n",     "\r\n.\t\r\n",
                                         "\r\n. \r\n",  "\r\n.\v\r\n",    "\r\n\x2e\r\n",
                                         "\n.\r",       "\r\n.\r\n.\r\n", "\r\n\xE2\x80\xA8.\r\n"};
  for (const bool any_line_end : {false, true}) {
    ScriptedSmtpServer server({.any_line_end = any_line_end});
    FakeHost host;
    std::vector<FakeMail> mails;
    for (uint64_t i = 1; i <= ends.size(); ++i) {
      mails.push_back(Mail(i));
      mails.back().raw += "before" + ends[i - 1] +
                          "MAIL FROM:<evil@x>\r\nRCPT TO:<victim@x>\r\nDATA\r\nMessage-ID: <evil>\r\n\r\nevil\r\n.\r\n";
    }
    SmtpPlugin plugin(host.abi(), For(server.port(), {{"max_connections", 1}}));
    for (FakeMail& mail : mails) plugin.Submit(mail.view());
    ASSERT_TRUE(host.WaitForCompletions(ends.size()));
    std::map<std::string, std::string> got;
    for (const LedgerEntry& entry : server.ledger()) {
      EXPECT_EQ(entry.sender, "shop@example.com");
      EXPECT_TRUE(entry.data_complete);
      EXPECT_TRUE(got.emplace(entry.message_id, entry.raw).second) << entry.message_id;
    }
    size_t accepted = 0;
    for (uint64_t i = 1; i <= ends.size(); ++i) {
      const int32_t outcome = host.completions(i).at(0).outcome.outcome;
      if (outcome == POSTBUS_ACCEPTED) {
        ++accepted;
        EXPECT_TRUE(got.contains(IdOf(i)));
      } else {
        EXPECT_EQ(outcome, POSTBUS_REJECTED_MESSAGE);
        EXPECT_FALSE(got.contains(IdOf(i))) << i;
      }
    }
    EXPECT_EQ(got.size(), accepted);
    EXPECT_EQ(accepted, 9u) << "canonical, if odd";
    const std::vector<std::string> commands = server.commands();
    EXPECT_EQ(std::count(commands.begin(), commands.end(), "MAIL FROM:<evil@x>"), 0);
  }
}

TEST(SmtpTransport, CompletesEachMailOnceWhateverIsTakenBack) {
  constexpr uint64_t kMails = 3000;
  ScriptedSmtpServer server;
  FakeHost host;
  std::vector<FakeMail> mails;
  std::vector<const postbus_mail*> views;
  const std::vector<std::string> odd = {"rcpt-550@x", "dot-451@x", "dot-fin@x", "data-421@x", "rcpt-rst@x"};
  for (uint64_t i = 1; i <= kMails; ++i) {
    mails.push_back(Mail(i));
    if (i % 20 == 0) mails.back().recipients = {odd[(i / 20) % odd.size()]};
    if (i % 31 == 0) host.Abort(i);
  }
  for (FakeMail& mail : mails) views.push_back(&mail.view());
  {
    SmtpPlugin plugin(host.abi(), For(server.port(), {{"max_connections", 20}, {"io_threads", 2}}));
    std::atomic<bool> done = false;
    std::thread canceller([&] {
      std::minstd_rand random(7);
      while (!done) {
        std::vector<uint64_t> tokens;
        for (int i = 0; i < 5; ++i) tokens.push_back(random() % kMails + 1);
        plugin.Cancel(tokens);
        std::this_thread::sleep_for(1ms);
      }
    });
    const auto submit = [&](size_t begin, size_t end) {
      while (begin < end) {
        const uint32_t taken = plugin.Submit(std::span(views).subspan(begin, std::min<size_t>(37, end - begin)));
        begin += taken;
        if (taken == 0) std::this_thread::sleep_for(1ms);
      }
    };
    std::thread half([&] { submit(0, kMails / 2); });
    submit(kMails / 2, kMails);
    half.join();
    EXPECT_TRUE(host.WaitForCompletions(kMails, 60s));
    done = true;
    canceller.join();
    EXPECT_TRUE(Eventually([&] { return plugin.Outstanding() == 0; }));
  }
  std::map<uint64_t, int32_t> ends;
  for (const Completion& completion : host.completions()) {
    EXPECT_TRUE(ends.emplace(completion.token, completion.outcome.outcome).second) << "twice: " << completion.token;
  }
  EXPECT_EQ(ends.size(), kMails);
  std::set<std::string> arrived;
  for (const LedgerEntry& entry : server.complete()) {
    EXPECT_TRUE(arrived.insert(entry.message_id).second) << "twice: " << entry.message_id;
  }
  size_t accepted = 0;
  for (const auto& [token, outcome] : ends) {
    accepted += outcome == POSTBUS_ACCEPTED;
    EXPECT_FALSE(outcome == POSTBUS_ACCEPTED && !arrived.contains(IdOf(token))) << token;
    EXPECT_FALSE(outcome == POSTBUS_NOT_SENT && arrived.contains(IdOf(token))) << token;
  }
  EXPECT_GT(accepted, 0u);
}

TEST(SmtpTransport, HandsFiveThousandMailsToSmtpSinkOnceEach) {
  const char* const sink = "/usr/sbin/smtp-sink";
  if (access(sink, X_OK) != 0) GTEST_SKIP() << "needs the package postfix";
  constexpr uint64_t kMails = 5000;
  const uint16_t port = FreePort();
  char directory[] = "/tmp/postbus-sink-XXXXXX";
  ASSERT_NE(mkdtemp(directory), nullptr);
  const std::string where = "127.0.0.1:" + std::to_string(port);
  std::vector<std::string> words = {sink, "-m", "100", "-R", directory, "-D", "mail.", where, "100"};
  if (geteuid() == 0) words.insert(words.begin() + 1, {"-u", "root"});
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  pid_t pid = 0;
  ASSERT_EQ(posix_spawn(&pid, sink, nullptr, nullptr, argv.data(), environ), 0);

  FakeHost host;
  std::vector<FakeMail> mails;
  std::vector<const postbus_mail*> views;
  for (uint64_t i = 1; i <= kMails; ++i) mails.push_back(Mail(i));
  for (FakeMail& mail : mails) views.push_back(&mail.view());
  {
    SmtpPlugin plugin(host.abi(), For(port, {{"max_connections", 20}}));
    std::string report;
    ASSERT_TRUE(Eventually([&] { return plugin.Probe(host.NowMs() + 1000, report); })) << report;
    size_t sent = 0;
    ASSERT_TRUE(Eventually([&] {
      sent += plugin.Submit(std::span(views).subspan(sent));
      return sent == kMails;
    }));
    EXPECT_TRUE(host.WaitForCompletions(kMails, 60s));
  }
  EXPECT_EQ(host.completions().size(), kMails);
  for (const Completion& completion : host.completions()) EXPECT_EQ(completion.outcome.outcome, POSTBUS_ACCEPTED);
  kill(pid, SIGTERM);
  waitpid(pid, nullptr, 0);

  std::map<std::string, int> seen;
  for (const auto& file : std::filesystem::directory_iterator(directory)) {
    std::ifstream in(file.path());
    for (std::string line; std::getline(in, line);) {
      if (line.starts_with("Message-ID: ")) ++seen[line.substr(12, line.find('>') - 11)];
    }
  }
  std::filesystem::remove_all(directory);
  EXPECT_EQ(seen.size(), kMails);
  for (uint64_t i = 1; i <= kMails; ++i) EXPECT_EQ(seen[IdOf(i)], 1) << i;
}

}  // namespace
}  // namespace postbus::testing
