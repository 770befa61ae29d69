// TLS and AUTH on real sockets: what a server gets to see in the clear, and what is sent to one that is not who it
// should be.
#include "plugins/smtp/tls.h"

#include <gtest/gtest.h>
#include <openssl/conf.h>

#include <fstream>
#include <set>

#include "tests/plugins/smtp/golden.h"
#include "tests/support/smtp/scripted_smtp_server.h"
#include "tests/support/smtp/smtp_plugin.h"

namespace postbus::testing {
namespace {

using sdk::testing::Completion;
using sdk::testing::FakeHost;
using sdk::testing::FakeMail;
using namespace std::chrono_literals;

constexpr auto kPatience = 60s;
const std::string kHello = "EHLO test.example\r\n";

FakeMail Mail(uint64_t number, size_t size = 0) {
  FakeMail mail(number);
  mail.raw = "Message-ID: <event-" + std::to_string(number) + "@example.com>\r\nSubject: Hello\r\n\r\nHello\r\n";
  while (mail.raw.size() < size) mail.raw += ".a line of a long mail\r\n";
  return mail;
}

class SmtpTls : public ::testing::Test {
 protected:
  SmtpPlugin::Given For(const ScriptedSmtpServer& server, SmtpPlugin::Given given = {}) {
    given.insert({{"host", std::string("localhost")},
                  {"port", int64_t{server.port()}},
                  {"tls_ca_file", ca.file()},
                  {"helo_name", std::string("test.example")},
                  {"username", std::string("shop")},
                  {"password", std::string("open sesame")}});
    return given;
  }

  Completion Send(const SmtpPlugin::Given& given) {
    FakeHost host;
    FakeMail mail = Mail(1);
    SmtpPlugin plugin(host.abi(), given);
    plugin.Submit(mail.view());
    EXPECT_TRUE(host.WaitForCompletions(1, kPatience));
    const std::vector<Completion> completions = host.completions();
    return completions.empty() ? Completion() : completions[0];
  }

  TestCa ca;
  std::vector<std::string> extensions = {"PIPELINING", "8BITMIME", "AUTH PLAIN LOGIN"};
};

TEST_F(SmtpTls, SaysNothingButHelloInTheClear) {
  for (const bool implicit : {false, true}) {
    const std::string tls = implicit ? "implicit" : "starttls";
    ScriptedSmtpServer server(
        {.extensions = extensions, .certificate = ca.Issue("DNS:localhost"), .implicit_tls = implicit});
    const Completion completion = Send(For(server, {{"tls", tls}}));
    EXPECT_EQ(completion.outcome.outcome, POSTBUS_ACCEPTED) << completion.outcome.text;
    EXPECT_EQ(server.clear_text(), implicit ? "" : kHello + "STARTTLS\r\n");
    EXPECT_EQ(server.server_name(), "localhost");
    ASSERT_EQ(server.complete().size(), 1u);
    EXPECT_EQ(server.complete()[0].raw, Mail(1).raw);
    std::vector<std::string> commands = server.commands();
    if (!implicit) commands.erase(commands.begin(), commands.begin() + 2);
    std::erase(commands, "QUIT");  // the transport's end; the server may have seen it or not
    EXPECT_EQ(commands, (std::vector<std::string>{"EHLO test.example", "AUTH PLAIN AHNob3AAb3BlbiBzZXNhbWU=",
                                                  "MAIL FROM:<shop@example.com>", "RCPT TO:<a@example.org>", "DATA"}));
  }
}

TEST_F(SmtpTls, VerifiesAnIpAddress) {
  ScriptedSmtpServer server({.certificate = ca.Issue("IP:127.0.0.1")});
  const SmtpPlugin::Given given =
      For(server, {{"host", std::string("127.0.0.1")}, {"username", std::string()}, {"password", std::string()}});
  EXPECT_EQ(Send(given).outcome.outcome, POSTBUS_ACCEPTED);
  EXPECT_EQ(server.server_name(), "") << "RFC 6066 3: no addresses";
}

TEST_F(SmtpTls, SendsNothingToAServerThatIsNotWhoItShouldBe) {
  TestCa other;
  const Certificate good = ca.Issue("DNS:localhost");
  struct Case {
    std::string name;
    ScriptedSmtpOptions options;
    std::string text;  // what follows HOST:PORT
    int code = 0;
  };
  const std::string refused = ": TLS handshake failed: the server's certificate ";
  const std::string own_ca = "; if it is signed by a CA of your own set tls_ca_file";
  const std::vector<Case> cases = {
      {"stripped", {.extensions = extensions}, " offers no STARTTLS; for a local test server set tls: none"},
      {"refused", {.starttls = "454", .certificate = good}, "as you wish", 454},
      {"expired",
       {.certificate = ca.Issue("DNS:localhost", /*expired=*/true)},
       refused + "was refused: certificate has expired"},
      {"wrong host",
       {.certificate = ca.Issue("DNS:other.example")},
       refused + "is for another name; set host to a name that stands in it"},
      {"wildcard for a part of a label",
       {.certificate = ca.Issue("DNS:local*")},
       refused + "is for another name; set host to a name that stands in it"},
      {"address",
       {.certificate = ca.Issue("IP:127.0.0.1")},
       refused + "is for another name; set host to a name that stands in it"},
      {"self-signed",
       {.certificate = ca.SelfSigned("DNS:localhost")},
       refused + "is not trusted (self-signed certificate)" + own_ca},
      {"other CA",
       {.certificate = other.Issue("DNS:localhost")},
       refused + "is not trusted (unable to get local issuer certificate)" + own_ca},
      {"injected",
       {.injected = "250-evil\r\n250 AUTH PLAIN\r\n", .certificate = good},
       " sent more than its reply to STARTTLS before the TLS handshake: somebody may be injecting replies"},
      {"injected, cut",
       {.injected = "25", .certificate = good},
       " sent more than its reply to STARTTLS before the TLS handshake: somebody may be injecting replies"},
      {"no TLS",
       {.handshake = "550", .certificate = good},
       ": TLS handshake failed: what the server speaks here is no TLS"},
      {"gone", {.handshake = "fin", .certificate = good}, ": TLS handshake failed: Connection reset by peer"}};
  for (const Case& c : cases) {
    ScriptedSmtpServer server(c.options);
    const Completion completion = Send(For(server));
    EXPECT_EQ(completion.outcome.outcome, POSTBUS_PROVIDER_FAULT) << c.name;
    EXPECT_EQ(completion.outcome.phase, POSTBUS_PHASE_TLS) << c.name;
    EXPECT_EQ(completion.outcome.code, c.code) << c.name;
    const std::string server_name = c.code != 0 ? "" : "localhost:" + std::to_string(server.port());
    EXPECT_EQ(completion.outcome.text, server_name + c.text) << c.name;
    server.Stop();
    // Not one byte of mail or AUTH, in the clear or not.
    const std::string said = c.name == "stripped" ? kHello : kHello + "STARTTLS\r\n";
    EXPECT_TRUE(server.clear_text().starts_with(said)) << c.name;
    EXPECT_LE(server.commands().size(), 2u) << c.name;
    for (const char* word : {"AUTH", "MAIL", "RCPT", "shop", "AHNob3A", "Message-ID"}) {
      EXPECT_EQ(server.clear_text().find(word), std::string::npos) << c.name << ": " << word;
    }
    EXPECT_TRUE(server.ledger().empty()) << c.name;
  }
}

// The machine's OpenSSL configuration as an administrator may have it, while it exists: it allows any protocol.
class LaxOpenSsl {
 public:
  LaxOpenSsl() {
    const std::string file = ::testing::TempDir() + "/lax_openssl.cnf";
    std::ofstream(file) << "openssl_conf = all\n[all]\nssl_conf = ssl\n[ssl]\nsystem_default = lax\n"
                           "[lax]\nCipherString = DEFAULT:@SECLEVEL=0\n";
    EXPECT_EQ(CONF_modules_load_file(file.c_str(), nullptr, 0), 1);
  }
  ~LaxOpenSsl() { CONF_modules_unload(1); }
};

TEST_F(SmtpTls, SpeaksNothingOlderThanTls12) {
  const LaxOpenSsl lax;
  ScriptedSmtpServer server({.certificate = ca.Issue("DNS:localhost"), .old_tls = true});
  const Completion completion = Send(For(server));
  EXPECT_EQ(completion.outcome.outcome, POSTBUS_PROVIDER_FAULT);
  EXPECT_EQ(completion.outcome.phase, POSTBUS_PHASE_TLS);
  EXPECT_NE(completion.outcome.text.find("TLS handshake failed: "), std::string::npos) << completion.outcome.text;
  EXPECT_EQ(server.clear_text().find("MAIL"), std::string::npos);
  EXPECT_TRUE(server.ledger().empty());
}

TEST_F(SmtpTls, TrustsNoUnknownCaByDefault) {
  ScriptedSmtpServer server({.certificate = ca.Issue("DNS:localhost")});
  const Completion completion = Send(For(server, {{"tls_ca_file", std::string()}}));
  EXPECT_EQ(completion.outcome.outcome, POSTBUS_PROVIDER_FAULT);
  EXPECT_NE(completion.outcome.text.find("is not trusted"), std::string::npos) << completion.outcome.text;
}

TEST_F(SmtpTls, SpeaksNoImplicitTlsToAServerWithout) {
  ScriptedSmtpServer server({.extensions = extensions});
  const Completion completion = Send(For(server, {{"tls", std::string("implicit")}, {"tls_timeout", 30'000}}));
  EXPECT_EQ(completion.outcome.phase, POSTBUS_PHASE_TLS);
  EXPECT_NE(completion.outcome.text.find("what the server speaks here is no TLS"), std::string::npos);
  EXPECT_TRUE(server.ledger().empty());
}

TEST_F(SmtpTls, AuthenticatesByEachMechanism) {
  struct Case {
    std::string auth;
    std::vector<std::string> expected;
  };
  const std::string token(400, 't');
  const std::string long_plain = "AHNob3AA" + [&] {
    std::string base64;
    for (int i = 0; i < 133; ++i) base64 += "dHR0";
    return base64 + "dA==";
  }();
  for (const Case& c :
       std::vector<Case>{{"auto", {"AUTH PLAIN AHNob3AAb3BlbiBzZXNhbWU="}},
                         {"plain", {"AUTH PLAIN AHNob3AAb3BlbiBzZXNhbWU="}},
                         {"login", {"AUTH LOGIN", "c2hvcA==", "b3BlbiBzZXNhbWU="}},
                         {"xoauth2", {"AUTH XOAUTH2 dXNlcj1zaG9wAWF1dGg9QmVhcmVyIG9wZW4gc2VzYW1lAQE="}}}) {
    ScriptedSmtpServer server(
        {.extensions = {"PIPELINING", "auth plain login xoauth2"}, .certificate = ca.Issue("DNS:localhost")});
    EXPECT_EQ(Send(For(server, {{"auth", c.auth}})).outcome.outcome, POSTBUS_ACCEPTED) << c.auth;
    std::vector<std::string> commands = server.commands();
    commands.erase(commands.begin(), commands.begin() + 3);
    commands.resize(c.expected.size());
    EXPECT_EQ(commands, c.expected);
  }
  // Too long for a command line: only where the server asks for it.
  ScriptedSmtpServer server({.extensions = extensions, .certificate = ca.Issue("DNS:localhost")});
  EXPECT_EQ(Send(For(server, {{"password", token}})).outcome.outcome, POSTBUS_ACCEPTED);
  ASSERT_GE(server.commands().size(), 5u);
  EXPECT_EQ(server.commands()[3], "AUTH PLAIN");
  EXPECT_EQ(server.commands()[4], long_plain);
}

TEST_F(SmtpTls, SaysWhyItCouldNotAuthenticate) {
  struct Case {
    std::vector<std::string> extensions;
    std::string action;
    std::string auth;
    std::string preset;
    int32_t outcome;
    std::string text;
  };
  for (const Case& c : std::vector<Case>{
           {extensions, "535", "auto", "none", POSTBUS_PROVIDER_FAULT, "Too many connections per account"},
           {extensions, "535", "auto", "mailtrap", POSTBUS_THROTTLED, "Too many connections per account"},
           {{"8BITMIME"},
            "",
            "auto",
            "none",
            POSTBUS_PROVIDER_FAULT,
            " offers no AUTH; leave username empty where none is wanted"},
           {{"AUTH XOAUTH2 CRAM-MD5"},
            "",
            "auto",
            "none",
            POSTBUS_PROVIDER_FAULT,
            " offers no AUTH PLAIN, but XOAUTH2 CRAM-MD5; see auth"}}) {
    ScriptedSmtpServer server({.auth = c.action, .extensions = c.extensions, .certificate = ca.Issue("DNS:localhost")});
    const Completion completion = Send(For(server, {{"auth", c.auth}, {"preset", c.preset}}));
    EXPECT_EQ(completion.outcome.outcome, c.outcome);
    EXPECT_EQ(completion.outcome.phase, POSTBUS_PHASE_AUTH);
    EXPECT_TRUE(completion.outcome.text.ends_with(c.text)) << completion.outcome.text;
  }
}

TEST_F(SmtpTls, SendsManyAndLargeMails) {
  for (const bool slow : {false, true}) {
    ScriptedSmtpServer server({.extensions = extensions,
                               .certificate = ca.Issue("DNS:localhost"),
                               .body_pause_ms = slow ? 20 : 0,
                               .receive_buffer = slow ? 4096 : 0});
    FakeHost host;
    std::vector<FakeMail> mails;
    const uint64_t count = slow ? 10 : 300;
    for (uint64_t i = 1; i <= count; ++i) mails.push_back(Mail(i, i % 5 == 0 ? 20'000 + i * 1000 : 0));
    SmtpPlugin plugin(host.abi(), For(server, {{"max_connections", 5}}));
    for (FakeMail& mail : mails) ASSERT_EQ(plugin.Submit(mail.view()), 1u);
    ASSERT_TRUE(host.WaitForCompletions(count, 100s));
    std::map<std::string, size_t> sizes;
    for (const LedgerEntry& entry : server.complete())
      EXPECT_TRUE(sizes.emplace(entry.message_id, entry.raw.size()).second);
    for (uint64_t i = 1; i <= count; ++i) {
      EXPECT_EQ(host.completions(i).at(0).outcome.outcome, POSTBUS_ACCEPTED) << host.completions(i).at(0).outcome.text;
      const std::string& raw = mails[i - 1].raw;
      size_t dots = 0;
      for (size_t at = raw.find("\r\n."); at != std::string::npos; at = raw.find("\r\n.", at + 1)) ++dots;
      EXPECT_EQ(sizes["<event-" + std::to_string(i) + "@example.com>"], raw.size() + dots);
    }
  }
}

TEST_F(SmtpTls, Probes) {
  FakeHost host;
  std::string report;
  ScriptedSmtpServer server({.extensions = extensions, .certificate = ca.Issue("DNS:localhost")});
  SmtpPlugin plugin(host.abi(), For(server));
  EXPECT_TRUE(plugin.Probe(host.NowMs() + 60'000, report)) << report;
  EXPECT_TRUE(server.ledger().empty());
  SmtpPlugin wrong(host.abi(), For(server, {{"host", std::string("127.0.0.1")}}));
  EXPECT_FALSE(wrong.Probe(host.NowMs() + 60'000, report));
  EXPECT_NE(report.find("is for another name"), std::string::npos) << report;
}

TEST_F(SmtpTls, RefusesOptionsThatCannotBe) {
  FakeHost host;
  const ScriptedSmtpServer server;
  const auto problem = [&](SmtpPlugin::Given given) -> std::string {
    try {
      SmtpPlugin plugin(host.abi(), For(server, std::move(given)));
    } catch (const std::runtime_error& error) {
      return error.what();
    }
    return "";
  };
  EXPECT_TRUE(problem({{"tls_ca_file", std::string("/nowhere/ca.pem")}})
                  .starts_with("tls_ca_file: \"/nowhere/ca.pem\" is no file of certificates in PEM form: "));
  EXPECT_EQ(problem({{"tls", std::string("none")}}), "tls_ca_file: there is no TLS with tls: none");
  EXPECT_EQ(problem({{"password", std::string()}}),
            "username and password: one of them is missing; leave both empty for no AUTH");
  EXPECT_EQ(problem({{"username", std::string("a\r\nb")}}),
            "username or password has a line break or control character in it");
  EXPECT_TRUE(problem({{"host", std::string("localhost")}}).empty());
}

}  // namespace
}  // namespace postbus::testing
