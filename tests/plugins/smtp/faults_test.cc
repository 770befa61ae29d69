// Every fault in every phase: what the host is told (golden file), and that it is true (the server's ledger).
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <map>
#include <random>
#include <set>
#include <thread>

#include "tests/plugins/smtp/golden.h"
#include "tests/support/smtp/scripted_smtp_server.h"
#include "tests/support/smtp/smtp_plugin.h"

namespace postbus::testing {
namespace {

using sdk::testing::Completion;
using sdk::testing::FakeHost;
using sdk::testing::FakeMail;
using namespace std::chrono_literals;

SmtpPlugin::Given For(uint16_t port, SmtpPlugin::Given given) {
  given.insert({{"host", std::string("127.0.0.1")},
                {"port", int64_t{port}},
                {"tls", std::string("none")},
                {"helo_name", std::string("test.example")}});
  return given;
}

// Only what is to time out is impatient: the machine may be slow.
const std::map<std::string, std::string> kTimeouts = {
    {"greeting", "greeting_timeout"}, {"ehlo", "ehlo_timeout"},
    {"starttls", "tls_timeout"},      {"handshake", "tls_timeout"},
    {"auth", "auth_timeout"},         {"mail", "mail_timeout"},
    {"rcpt", "rcpt_timeout"},         {"data", "data_initiation_timeout"},
    {"body", "data_block_timeout"},   {"dot", "data_termination_timeout"}};

FakeMail Mail(uint64_t number, size_t size = 0) {
  FakeMail mail(number);
  mail.raw = "Message-ID: <event-" + std::to_string(number) + "@example.com>\r\nSubject: Hello\r\n\r\nHello\r\n";
  while (mail.raw.size() < size) mail.raw += std::string(76, 'x') + "\r\n";
  return mail;
}

std::string IdOf(uint64_t number) { return "<event-" + std::to_string(number) + "@example.com>"; }

enum class Mode { kPipelined, kLockStep, kTls };
constexpr const char* kModes[] = {"pipelined", "lock-step", "tls"};

// One mail, one fault: a line of the table.
std::string RunCase(Mode mode, TestCa& ca, const std::string& phase, const std::string& action) {
  ScriptedSmtpOptions options;
  if (mode == Mode::kLockStep) options.extensions = {"8BITMIME"};
  if (mode == Mode::kTls) {
    options.extensions = {"PIPELINING", "AUTH PLAIN"};
    options.certificate = ca.Issue("DNS:localhost");
  }
  if (phase == "greeting") options.greeting = action;
  if (phase == "ehlo") options.ehlo = action;
  if (phase == "starttls") options.starttls = action;
  if (phase == "handshake") options.handshake = action;
  if (phase == "auth") options.auth = action;
  // Larger than any socket buffer, so that a fault in its middle comes before its end.
  FakeMail mail = Mail(1, phase == "body" ? size_t{12} << 20 : 0);
  const std::string local = phase + "-" + action;
  if (phase == "mail") mail.sender = local + "@example.com";
  if (phase == "rcpt" || phase == "data" || phase == "body" || phase == "dot")
    mail.recipients = {local + "@example.org"};

  ScriptedSmtpServer server(options);
  FakeHost host;
  SmtpPlugin::Given given = {{"max_connections", int64_t{1}}};
  if (mode == Mode::kTls) {
    given.insert({{"tls", std::string("starttls")},
                  {"host", std::string("localhost")},
                  {"tls_ca_file", ca.file()},
                  {"username", std::string("shop")},
                  {"password", std::string("open sesame")}});
  }
  if (action == "hang") given[kTimeouts.at(phase)] = int64_t{100};
  SmtpPlugin plugin(host.abi(), For(server.port(), given));
  plugin.Submit(mail.view());
  EXPECT_TRUE(host.WaitForCompletions(1)) << local;
  const std::vector<Completion> completions = host.completions();
  if (completions.size() != 1) return local + ": completed " + std::to_string(completions.size()) + " times\n";
  const sdk::Outcome& outcome = completions[0].outcome;

  // Is it true?
  const std::vector<LedgerEntry> arrived = server.complete();
  EXPECT_LE(arrived.size(), 1u) << local;
  const int reply = arrived.empty() ? 0 : arrived[0].reply;
  switch (outcome.outcome) {
    case POSTBUS_ACCEPTED:
      EXPECT_EQ(reply / 100, 2) << local;
      break;
    case POSTBUS_IN_DOUBT:
      EXPECT_EQ(arrived.size(), 1u) << local << ": here it is known to have arrived";
      EXPECT_EQ(reply, 0) << local;
      break;
    case POSTBUS_NOT_SENT:
    case POSTBUS_PROVIDER_FAULT:
      EXPECT_TRUE(arrived.empty()) << local;
      break;
    default:
      EXPECT_TRUE(arrived.empty() || reply >= 400) << local;
  }
  EXPECT_EQ(outcome.text.find('@'), std::string::npos) << outcome.text;
  EXPECT_FALSE(outcome.text.empty()) << local;

  // An RST right behind the connection's opening may pass for a refused connect.
  int32_t reached = outcome.phase;
  if (phase == "greeting" && action == "rst" && reached == POSTBUS_PHASE_CONNECT) reached = POSTBUS_PHASE_GREETING;
  char line[160];
  std::snprintf(line, sizeof line, "%-9s  %-8s  %-7s  %-18s  %-9s  %03d %d.%d.%d\n", kModes[static_cast<size_t>(mode)],
                phase.c_str(), action.c_str(), OutcomeName(outcome.outcome), PhaseName(reached), outcome.code,
                outcome.enhanced[0], outcome.enhanced[1], outcome.enhanced[2]);
  return line;
}

TEST(SmtpFaults, EndAsTheGoldenFileHasIt) {
  TestCa ca;
  std::string table;
  for (const Mode mode : {Mode::kPipelined, Mode::kLockStep, Mode::kTls}) {
    for (const char* phase :
         {"greeting", "ehlo", "starttls", "handshake", "auth", "mail", "rcpt", "data", "body", "dot"}) {
      const bool only_tls = std::set<std::string>{"starttls", "handshake", "auth"}.contains(phase);
      if (only_tls && mode != Mode::kTls) continue;
      for (const char* action : {"451", "550", "421", "rst", "fin", "hang", "garbage", "half"}) {
        table += RunCase(mode, ca, phase, action);
      }
    }
  }
  ExpectGolden("faults.golden", table);
}

// What becomes of a mail on a connection that is cut, and how many copies there are when the mail was sent again until
// it was taken.
std::string SendThroughCut(bool pipelining, size_t cut_after_in, size_t cut_after_out) {
  ScriptedSmtpOptions options;
  if (!pipelining) options.extensions = {"8BITMIME"};
  ScriptedSmtpServer whole(options);
  options.cut_after_in = cut_after_in;
  options.cut_after_out = cut_after_out;
  ScriptedSmtpServer server(options);
  FakeHost host;
  FakeMail mail = Mail(1, 2000);
  mail.recipients = {"ada@example.org", "bob@example.org"};
  std::string end;
  size_t completions = 0;
  for (const ScriptedSmtpServer* target : {&server, &whole}) {
    SmtpPlugin plugin(host.abi(), For(target->port(), {{"max_connections", int64_t{1}}}));
    plugin.Submit(mail.view());
    if (!host.WaitForCompletions(++completions, 60s)) return "never ended";
    const sdk::Outcome outcome = host.completions().back().outcome;
    if (target == &server) end = OutcomeName(outcome.outcome) + std::string(" ") + PhaseName(outcome.phase);
    if (outcome.outcome == POSTBUS_ACCEPTED) break;
  }
  const size_t arrived = server.complete().size();
  const size_t copies = arrived + whole.complete().size();
  EXPECT_GE(copies, 1u) << "lost: cut after " << cut_after_in << " in, " << cut_after_out << " out";
  EXPECT_TRUE(copies == 1 || (arrived == 1 && end == "IN_DOUBT FINAL_DOT")) << "doubled where it is not in doubt";
  EXPECT_LE(copies, 2u);
  return end + (copies == 2 ? " (two copies)" : "");
}

// After every byte of a session, either way; equal ends that follow each other are one line.
TEST(SmtpFaults, EndAsTheGoldenFileHasItWhereverTheConnectionIsCut) {
  std::string table;
  for (const bool pipelining : {true, false}) {
    for (const bool to_server : {true, false}) {
      size_t n = 0;
      size_t begin = 0;
      for (std::string end, last; last != "ACCEPTED FINAL_DOT"; last = end, ++n) {
        end = to_server ? SendThroughCut(pipelining, n, SIZE_MAX) : SendThroughCut(pipelining, SIZE_MAX, n);
        if (n > 0 && end != last) {
          char line[160];
          std::snprintf(line, sizeof line, "%s, cut after %4zu to %4zu bytes %s: %s\n", kModes[pipelining ? 0 : 1],
                        begin, n - 1, to_server ? "to the server" : "from it", last.c_str());
          table += line;
          begin = n;
        }
        ASSERT_LT(n, 3000u) << end;
      }
      EXPECT_GE(n, to_server ? 2048u : 150u);
    }
  }
  ExpectGolden("cuts.golden", table);
}

// What a host does with outcomes, in short: sends again what may be sent again, until it is through.
TEST(SmtpFaults, LoseNothingAndDoubleOnlyWhatIsInDoubt) {
  constexpr uint64_t kMails = 1500;
  ScriptedSmtpServer server({.close_after = 40});
  FakeHost host;
  std::vector<FakeMail> mails;
  const std::vector<std::string> phases = {"rcpt", "data", "dot"};
  const std::vector<std::string> actions = {"451", "421", "rst", "fin", "garbage", "half"};
  std::minstd_rand random(11);
  for (uint64_t i = 1; i <= kMails; ++i) {
    mails.push_back(Mail(i));
    if (random() % 10 != 0) continue;
    const std::string action = actions[random() % actions.size()];
    if (random() % 4 == 0) {
      mails.back().sender = "mail-" + action + "@example.com";
    } else {
      mails.back().recipients = {phases[random() % phases.size()] + "-" + action + "@example.org"};
    }
  }

  std::map<uint64_t, std::vector<int32_t>> turns;
  {
    SmtpPlugin plugin(host.abi(), For(server.port(), {{"max_connections", 20}}));
    size_t submitted = 0;
    const auto submit = [&](const postbus_mail& mail) {
      ++submitted;
      const auto end = std::chrono::steady_clock::now() + 30s;
      while (plugin.Submit(mail) == 0 && std::chrono::steady_clock::now() < end) std::this_thread::sleep_for(1ms);
    };
    for (FakeMail& mail : mails) submit(mail.view());
    size_t seen = 0;
    while (seen < submitted) {
      ASSERT_TRUE(host.WaitForCompletions(seen + 1, 60s));
      const std::vector<Completion> completions = host.completions();
      for (; seen < completions.size(); ++seen) {
        const Completion& completion = completions[seen];
        turns[completion.token].push_back(completion.outcome.outcome);
        if (completion.outcome.outcome == POSTBUS_ACCEPTED) continue;
        ASSERT_NE(completion.outcome.outcome, POSTBUS_REJECTED_MESSAGE);
        ASSERT_LT(turns[completion.token].size(), 20u);
        // The fault was for once.
        FakeMail& mail = mails[completion.token - 1];
        mail.sender = "shop@example.com";
        mail.recipients = {"a@example.org"};
        submit(mail.view());
      }
    }
  }

  std::map<std::string, size_t> copies;
  for (const LedgerEntry& entry : server.complete()) {
    if (entry.reply >= 400) continue;
    ++copies[entry.message_id];
  }
  for (uint64_t i = 1; i <= kMails; ++i) {
    const std::vector<int32_t>& outcomes = turns[i];
    ASSERT_FALSE(outcomes.empty());
    EXPECT_EQ(outcomes.back(), POSTBUS_ACCEPTED) << i;
    EXPECT_EQ(std::count(outcomes.begin(), outcomes.end(), POSTBUS_ACCEPTED), 1) << i;
    const auto doubts = static_cast<size_t>(std::count(outcomes.begin(), outcomes.end(), POSTBUS_IN_DOUBT));
    EXPECT_GE(copies[IdOf(i)], 1u) << "lost: " << i;
    EXPECT_LE(copies[IdOf(i)], 1 + doubts) << "doubled: " << i;
  }
}

}  // namespace
}  // namespace postbus::testing
