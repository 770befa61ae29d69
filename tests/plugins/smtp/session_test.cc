#include "plugins/smtp/session.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "postbus/testing/fake_host.hpp"

namespace postbus::smtp {
namespace {

using sdk::testing::FakeMail;

struct Ended {
  uint64_t token = 0;
  int32_t outcome = 0;
  int32_t phase = 0;
  int code = 0;
  uint64_t retry_after_ms = 0;
  std::string text;
  std::string id;
  std::map<uint32_t, int32_t> recipients;
};

// A session with its mails and what became of them.
class Client : public SessionListener {
 public:
  explicit Client(bool pipelining = true) {
    options.helo_name = "me.example";
    options.pipelining = pipelining;
    options.server = "mx.example:587";
    session.Open(/*loopback=*/true);
  }

  void OnFinished(MailTask& task, const postbus_result& result) override {
    Ended end{.token = task.mail->token,
              .outcome = result.outcome,
              .phase = result.phase,
              .code = result.code,
              .retry_after_ms = result.retry_after_ms,
              .text = std::string(sdk::View(result.text)),
              .id = std::string(sdk::View(result.provider_id)),
              .recipients = {}};
    for (uint32_t i = 0; i < result.n_recipients; ++i) {
      end.recipients[result.recipients[i]->recipient] = result.recipients[i]->outcome;
    }
    ended.push_back(end);
  }
  void OnReturned(MailTask& task) override { returned.push_back(task.mail->token); }

  // A mail of the test, kept for its life.
  MailTask& Mail(const std::function<void(FakeMail&)>& change = {}, uint32_t flags = 0) {
    mails.push_back(std::make_unique<FakeMail>(mails.size() + 1));
    if (change) change(*mails.back());
    views.push_back(std::make_unique<postbus_mail>(mails.back()->view()));
    views.back()->flags = flags;
    tasks.push_back(std::make_unique<MailTask>());
    tasks.back()->mail = views.back().get();
    return *tasks.back();
  }

  // What the session wants to write, all of it; in steps of `step` bytes.
  std::string Write(size_t step = SIZE_MAX) {
    std::string wire;
    while (true) {
      const auto output = session.Output();
      if (output.empty()) return wire;
      size_t n = 0;
      for (const std::string_view piece : output) {
        const size_t taken = std::min(piece.size(), step - n);
        wire.append(piece.substr(0, taken));
        n += taken;
      }
      session.Written(n);
    }
  }

  // Greeting and EHLO.
  void Greet(const std::string& extensions = "250-PIPELINING\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250 SIZE 1000000\r\n") {
    session.Receive("220 mx ESMTP\r\n");
    EXPECT_EQ(Write(), "EHLO me.example\r\n");
    session.Receive("250-mx\r\n" + extensions);
    EXPECT_TRUE(session.ready());
  }

  SessionOptions options;
  Session session{options, *this};
  std::vector<Ended> ended;
  std::vector<uint64_t> returned;
  std::vector<std::unique_ptr<FakeMail>> mails;
  std::vector<std::unique_ptr<postbus_mail>> views;
  std::vector<std::unique_ptr<MailTask>> tasks;
};

const std::string kEnvelope = "MAIL FROM:<shop@example.com> SIZE=68\r\nRCPT TO:<a@example.org>\r\nDATA\r\n";
const std::string kBody = "From: shop@example.com\r\nTo: a@example.org\r\nSubject: Hello\r\n\r\nHello\r\n.\r\n";
const std::string kGoOn = "250 2.1.0 Ok\r\n250 2.1.5 Ok\r\n354 go\r\n";

// --- dialogues -------------------------------------------------------------------------------------------------------

TEST(Session, PipelinesBodyAndNextEnvelopeInOneWrite) {
  Client client;
  client.Greet();
  client.session.Take(client.Mail());
  EXPECT_EQ(client.Write(), kEnvelope);
  EXPECT_FALSE(client.session.CanTakeAhead());
  client.session.Receive(kGoOn);
  ASSERT_NE(client.session.wants_permit(), nullptr);
  EXPECT_EQ(client.Write(), "") << "nothing goes out before the host permits it";
  client.session.Permit(true);
  ASSERT_TRUE(client.session.CanTakeAhead());
  client.session.Take(client.Mail());
  EXPECT_FALSE(client.session.CanTakeAhead());
  ASSERT_LE(client.session.Output().size(), 3u) << "one gather write";
  EXPECT_EQ(client.Write(), kBody + kEnvelope);
  EXPECT_TRUE(client.ended.empty());
  client.session.Receive("250 2.0.0 Ok: queued as 4F2A\r\n" + kGoOn);
  ASSERT_EQ(client.ended.size(), 1u);
  EXPECT_EQ(client.ended[0].token, 1u);
  EXPECT_EQ(client.ended[0].outcome, POSTBUS_ACCEPTED);
  EXPECT_EQ(client.ended[0].phase, POSTBUS_PHASE_FINAL_DOT);
  EXPECT_EQ(client.ended[0].code, 250);
  EXPECT_EQ(client.ended[0].text, "Ok: queued as 4F2A");
  EXPECT_EQ(client.ended[0].id, "4F2A");
  client.session.Permit(true);
  EXPECT_EQ(client.Write(), kBody);
  client.session.Receive("250 Ok\r\n");
  ASSERT_EQ(client.ended.size(), 2u);
  EXPECT_EQ(client.ended[1].token, 2u);
  EXPECT_TRUE(client.session.idle());
  client.session.Quit();
  EXPECT_EQ(client.Write(), "QUIT\r\n");
  client.session.Receive("221 bye\r\n");
  EXPECT_EQ(client.session.state(), Session::State::kFailed);
}

TEST(Session, GoesInLockStepWherePipeliningIsNotAnnouncedOrNotWanted) {
  for (const bool wanted : {true, false}) {
    Client client(wanted);
    client.Greet(wanted ? "250 HELP\r\n" : "250 PIPELINING\r\n");
    client.session.Take(client.Mail([](FakeMail& mail) { mail.recipients = {"a@x", "b@x"}; }));
    EXPECT_EQ(client.Write(), "MAIL FROM:<shop@example.com>\r\n");
    client.session.Receive("250 Ok\r\n");
    EXPECT_EQ(client.Write(), "RCPT TO:<a@x>\r\n");
    client.session.Receive("250 Ok\r\n");
    EXPECT_EQ(client.Write(), "RCPT TO:<b@x>\r\n");
    client.session.Receive("550 5.1.1 <b@x>: no\r\n");
    EXPECT_EQ(client.Write(), "DATA\r\n");
    client.session.Receive("354 go\r\n");
    client.session.Permit(true);
    EXPECT_FALSE(client.session.CanTakeAhead());
    EXPECT_EQ(client.Write(), kBody);
    client.session.Receive("250 Ok\r\n");
    ASSERT_EQ(client.ended.size(), 1u);
    EXPECT_EQ(client.ended[0].outcome, POSTBUS_ACCEPTED);
    EXPECT_EQ(client.ended[0].recipients, (std::map<uint32_t, int32_t>{{1, POSTBUS_REJECTED_RECIPIENT}}));
    EXPECT_TRUE(client.session.idle());
  }
}

TEST(Session, FallsBackToHelo) {
  Client client;
  client.session.Receive("220 mx\r\n");
  client.Write();
  client.session.Receive("502 what\r\n");
  EXPECT_EQ(client.Write(), "HELO me.example\r\n");
  client.session.Receive("250-mx\r\n250 PIPELINING\r\n");
  ASSERT_TRUE(client.session.ready());
  client.session.Take(client.Mail());
  EXPECT_EQ(client.Write(), "MAIL FROM:<shop@example.com>\r\n") << "no extensions after HELO";
}

TEST(Session, SaysWhyItCouldNotBeOpened) {
  struct Case {
    std::vector<std::string> replies;
    int32_t phase;
    int code;
    std::string text;
  };
  for (const Case& c : std::vector<Case>{
           {{"554 5.7.1 go away bob@x.org\r\n"}, POSTBUS_PHASE_GREETING, 554, "go away <address>"},
           {{"421 busy\r\n"}, POSTBUS_PHASE_GREETING, 421, "busy"},
           {{"554\r\n"}, POSTBUS_PHASE_GREETING, 554, "the server refused without a word"},
           {{"SSH-2.0-x\r\n"}, POSTBUS_PHASE_GREETING, 0, "the server sent something that is no SMTP reply"},
           {{"220 mx\r\n", "421 busy\r\n"}, POSTBUS_PHASE_EHLO, 421, "busy"},
           {{"220 mx\r\n", "502 what\r\n", "502 what\r\n"}, POSTBUS_PHASE_EHLO, 502, "what"},
           {{"220 mx\r\n250 mx\r\n"}, POSTBUS_PHASE_EHLO, 0, "the server answered a command before it was sent"}}) {
    Client client;
    for (const std::string& reply : c.replies) {
      client.session.Receive(reply);
      client.Write();
    }
    EXPECT_EQ(client.session.state(), Session::State::kFailed);
    EXPECT_EQ(client.session.failure().phase, c.phase);
    EXPECT_EQ(client.session.failure().code, c.code);
    EXPECT_EQ(client.session.failure().text, c.text);
  }
}

// --- refusals --------------------------------------------------------------------------------------------------------

Ended EndOf(const std::vector<std::string>& recipients, const std::string& replies, bool* idle = nullptr) {
  Client client;
  client.Greet();
  client.session.Take(client.Mail([&](FakeMail& mail) { mail.recipients = recipients; }));
  client.Write();
  client.session.Receive(replies);
  if (client.session.wants_permit() != nullptr) {
    client.session.Permit(true);
    client.Write();
    client.session.Receive("250 Ok\r\n");
  } else {
    client.Write();
  }
  if (idle != nullptr) *idle = client.session.idle();
  EXPECT_EQ(client.ended.size(), 1u) << replies;
  return client.ended.empty() ? Ended() : client.ended[0];
}

TEST(Session, ReportsEachRecipient) {
  const Ended end = EndOf({"a@x", "b@x", "c@x", "d@x"},
                          "250 Ok\r\n250 Ok\r\n550 5.1.1 no\r\n450 4.2.1 busy\r\n452 4.5.3 enough\r\n354 go\r\n");
  EXPECT_EQ(end.outcome, POSTBUS_ACCEPTED);
  EXPECT_EQ(end.recipients, (std::map<uint32_t, int32_t>{
                                {1, POSTBUS_REJECTED_RECIPIENT}, {2, POSTBUS_TRANSIENT}, {3, POSTBUS_NOT_SENT}}));
}

TEST(Session, TakesTooManyRecipientsForTransientWhereNotOneWasTaken) {
  const Ended end = EndOf({"a@x", "b@x"}, "250 Ok\r\n452 4.5.3 enough\r\n452 4.5.3 enough\r\n554 no\r\n");
  EXPECT_EQ(end.recipients, (std::map<uint32_t, int32_t>{{0, POSTBUS_TRANSIENT}, {1, POSTBUS_TRANSIENT}}));
}

TEST(Session, GivesOneRecipientsRefusalAsTheMails) {
  bool idle = false;
  const Ended end = EndOf({"a@x"}, "250 Ok\r\n550 5.1.1 no\r\n554 no valid recipients\r\n", &idle);
  EXPECT_EQ(end.outcome, POSTBUS_REJECTED_RECIPIENT);
  EXPECT_EQ(end.phase, POSTBUS_PHASE_RCPT);
  EXPECT_EQ(end.code, 550);
  EXPECT_TRUE(end.recipients.empty());
  EXPECT_TRUE(idle);
}

TEST(Session, DoesNotTakeRepliesAfterARefusedMailForRefusals) {
  bool idle = false;
  const Ended end = EndOf({"a@x", "b@x"}, "451 4.3.0 later\r\n503 no\r\n503 no\r\n503 no\r\n", &idle);
  EXPECT_EQ(end.outcome, POSTBUS_TRANSIENT);
  EXPECT_EQ(end.phase, POSTBUS_PHASE_MAIL);
  EXPECT_TRUE(end.recipients.empty());
  EXPECT_TRUE(idle);
}

TEST(Session, SendsALoneDotWhereNobodyWasAcceptedAndTheServerGoesOn) {
  Client client;
  client.Greet();
  client.session.Take(client.Mail());
  client.Write();
  client.session.Receive("250 Ok\r\n550 no\r\n354 go\r\n");
  ASSERT_EQ(client.ended.size(), 1u);
  EXPECT_EQ(client.ended[0].outcome, POSTBUS_REJECTED_RECIPIENT);
  EXPECT_EQ(client.session.wants_permit(), nullptr);
  EXPECT_FALSE(client.session.idle());
  EXPECT_EQ(client.Write(), ".\r\n");
  client.session.Receive("250 taken by mistake\r\n");
  EXPECT_EQ(client.ended.size(), 1u) << "an empty mail for nobody is not sent mail";
  EXPECT_TRUE(client.session.idle());
}

TEST(Session, ResetsATransactionThatCameToNothing) {
  for (const bool pipelining : {true, false}) {
    Client client(pipelining);
    client.Greet();
    client.session.Take(client.Mail());
    client.Write();
    client.session.Receive("250 Ok\r\n");
    client.Write();
    client.session.Receive("250 Ok\r\n");
    client.Write();
    client.session.Receive("451 4.3.0 later\r\n");
    ASSERT_EQ(client.ended.size(), 1u);
    EXPECT_EQ(client.ended[0].outcome, POSTBUS_TRANSIENT);
    EXPECT_EQ(client.ended[0].phase, POSTBUS_PHASE_DATA);
    ASSERT_TRUE(client.session.idle());
    EXPECT_EQ(client.Write(), "") << "not before there is another mail";
    client.session.Take(client.Mail());
    EXPECT_EQ(client.Write(), pipelining ? "RSET\r\n" + kEnvelope : "RSET\r\n");
    client.session.Receive("250 Ok\r\n");
    EXPECT_EQ(client.Write(), pipelining ? "" : "MAIL FROM:<shop@example.com> SIZE=68\r\n");
    client.session.Receive("250 Ok\r\n");
    client.Write();
    client.session.Receive("250 Ok\r\n");
    client.Write();
    client.session.Receive("354 go\r\n");
    EXPECT_NE(client.session.wants_permit(), nullptr);
  }
}

TEST(Session, TakesAnEarlyRefusalForOneButNotAnEarlyAcceptance) {
  for (const auto& [reply, outcome] :
       std::map<std::string, int32_t>{{"552 5.3.4 too big\r\n", POSTBUS_REJECTED_MESSAGE},
                                      {"451 4.3.0 later\r\n", POSTBUS_TRANSIENT},
                                      {"421 4.3.2 bye\r\n", POSTBUS_NOT_SENT},
                                      {"250 2.0.0 Ok\r\n", POSTBUS_NOT_SENT}}) {
    Client client;
    client.Greet();
    client.session.Take(client.Mail());
    client.Write();
    client.session.Receive(kGoOn);
    client.session.Permit(true);
    client.session.Output();
    client.session.Written(10);
    client.session.Receive(reply);
    ASSERT_EQ(client.ended.size(), 1u);
    EXPECT_EQ(client.ended[0].outcome, outcome) << reply;
    EXPECT_EQ(client.ended[0].phase, POSTBUS_PHASE_BODY);
    EXPECT_EQ(client.session.state(), Session::State::kFailed);
    EXPECT_TRUE(client.session.abandoned()) << "half a mail must not be taken for a whole one";
  }
}

TEST(Session, RefusesAReplyToACommandItHasNotSent) {
  Client client;
  client.Greet();
  client.session.Take(client.Mail());
  client.session.Output();
  client.session.Written(5);
  client.session.Receive(kGoOn);  // 354 to a DATA that is still here
  ASSERT_EQ(client.ended.size(), 1u);
  EXPECT_EQ(client.ended[0].outcome, POSTBUS_NOT_SENT);
}

// --- what is never sent ----------------------------------------------------------------------------------------------

TEST(Session, NeverWritesAnUnsafeMail) {
  using std::string_literals::operator""s;
  std::vector<std::function<void(FakeMail&)>> changes;
  for (const std::string& raw : {""s, "a\n.\r\nMAIL FROM:<x@y>\r\n"s, "a\r.\r\n"s, "a\r\n.\n"s, "a\0b\r\n"s}) {
    changes.push_back([raw](FakeMail& mail) { mail.raw = raw; });
  }
  for (const std::string& address : {"a@x\r\nRCPT TO:<b@y"s, "a@x\n"s, "a b@x"s, "a@x>"s, "<a@x"s, "a\0@x"s, "a\x7f@x"s,
                                     "a@\tx"s, std::string(255, 'a')}) {
    changes.push_back([address](FakeMail& mail) { mail.recipients = {"ok@x", address}; });
    changes.push_back([address](FakeMail& mail) { mail.sender = address; });
  }
  changes.push_back([](FakeMail& mail) { mail.recipients = {""}; });
  changes.push_back([](FakeMail& mail) { mail.recipients = {}; });
  for (const auto& change : changes) {
    Client client;
    client.Greet();
    client.session.Take(client.Mail(change));
    ASSERT_EQ(client.ended.size(), 1u);
    EXPECT_EQ(client.ended[0].outcome, POSTBUS_REJECTED_MESSAGE);
    EXPECT_EQ(client.Write(), "");
    EXPECT_TRUE(client.session.idle());
  }
  Client client;
  client.Greet();
  client.session.Take(client.Mail([](FakeMail& mail) { mail.sender = ""; }));
  EXPECT_TRUE(client.Write().starts_with("MAIL FROM:<> SIZE")) << "the null reverse-path is an address";
}

TEST(Session, AsksOnlyForWhatTheServerOffers) {
  const auto big = [](FakeMail& mail) { mail.raw = std::string(1001, 'x') + "\r\n"; };
  const auto utf8 = [](FakeMail& mail) { mail.recipients = {"j\xC3\xBC@x"}; };
  Client bare;
  bare.Greet("250-PIPELINING\r\n250 SIZE 1000\r\n");
  bare.session.Take(bare.Mail(big));
  bare.session.Take(bare.Mail(utf8));
  bare.session.Take(
      bare.Mail([](FakeMail& mail) { mail.raw = "To: j\xC3\xBC@x\r\n\r\nHello\r\n"; }, POSTBUS_MAIL_SMTPUTF8));
  bare.session.Take(bare.Mail({}, POSTBUS_MAIL_8BIT));
  ASSERT_EQ(bare.ended.size(), 4u);
  for (const Ended& end : bare.ended) EXPECT_EQ(end.outcome, POSTBUS_UNSUPPORTED);
  EXPECT_EQ(bare.ended[0].text, "the mail has 1003 bytes, the server takes 1000");
  EXPECT_EQ(bare.Write(), "");

  for (const std::string size : {"SIZE", "SIZE 0"}) {
    Client all;
    all.Greet("250-PIPELINING\r\n250-smtputf8\r\n250-8bitmime\r\n250 " + size + "\r\n");
    all.session.Take(all.Mail(utf8, POSTBUS_MAIL_8BIT));
    EXPECT_TRUE(all.Write().starts_with("MAIL FROM:<shop@example.com> SIZE=68 BODY=8BITMIME SMTPUTF8\r\n"));
  }
}

// --- TLS and AUTH ----------------------------------------------------------------------------------------------------

TEST(Session, ForgetsWhatWasSaidInTheClear) {
  Client client;
  client.options.tls = Tls::kStartTls;
  client.options.username = "u";
  client.options.password = "p";
  client.session.Open(/*loopback=*/false);
  client.session.Receive("220 mx\r\n");
  client.Write();
  client.session.Receive("250-mx\r\n250-PIPELINING\r\n250-SMTPUTF8\r\n250-AUTH LOGIN\r\n250 STARTTLS\r\n");
  EXPECT_EQ(client.Write(), "STARTTLS\r\n");
  EXPECT_EQ(client.session.waiting(), Wait::kTls);
  client.session.Receive("220 go\r\n");
  ASSERT_TRUE(client.session.wants_tls());
  EXPECT_EQ(client.Write(), "") << "nothing in the clear any more";
  client.session.TlsEstablished();
  EXPECT_EQ(client.Write(), "EHLO me.example\r\n");
  client.session.Receive("250-mx\r\n250 AUTH PLAIN\r\n");
  EXPECT_EQ(client.session.waiting(), Wait::kAuth);
  EXPECT_EQ(client.Write(), "AUTH PLAIN AHUAcA==\r\n");
  client.session.Receive("235 welcome\r\n");
  ASSERT_TRUE(client.session.ready());
  client.session.Take(client.Mail());
  EXPECT_EQ(client.Write(), "MAIL FROM:<shop@example.com>\r\n") << "no PIPELINING, no SIZE";
}

// A client that has come to AUTH, on a connection in the clear.
void Authenticate(Client& client, Auth auth, bool loopback = true) {
  client.options.auth = auth;
  client.options.username = "u";
  client.options.password = "secret";
  client.session.Open(loopback);
  client.session.Receive("220 mx\r\n");
  client.Write();
  client.session.Receive("250-mx\r\n250 AUTH PLAIN LOGIN XOAUTH2\r\n");
}

TEST(Session, SendsNoPasswordInTheClearToAnotherMachine) {
  Client client;
  Authenticate(client, Auth::kAuto, /*loopback=*/false);
  EXPECT_EQ(client.Write(), "");
  EXPECT_EQ(client.session.state(), Session::State::kFailed);
  EXPECT_EQ(client.session.failure().phase, POSTBUS_PHASE_AUTH);
  EXPECT_EQ(client.session.failure().text,
            "mx.example:587 would get the password in the clear; set tls: starttls or tls: implicit");
}

TEST(Session, TellsNoSecretThatTheServerRepeats) {
  for (const char* reply : {"535 no: secret\r\n", "535 no: AHUAc2VjcmV0\r\n", "535-no\r\n535 xxsecretxx\r\n"}) {
    Client client;
    Authenticate(client, Auth::kPlain);
    EXPECT_EQ(client.Write(), "AUTH PLAIN AHUAc2VjcmV0\r\n");
    client.session.Receive(reply);
    EXPECT_EQ(client.session.failure().code, 535);
    EXPECT_EQ(client.session.failure().text, "AUTH failed, in words that repeat the password");
  }
}

TEST(Session, AnswersXoauth2sErrorChallengeAndNoMoreThanAuthHasToSay) {
  Client client;
  Authenticate(client, Auth::kXoauth2);
  EXPECT_EQ(client.Write(), "AUTH XOAUTH2 dXNlcj11AWF1dGg9QmVhcmVyIHNlY3JldAEB\r\n");
  client.session.Receive("334 eyJzdGF0dXMiOiI0MDEifQ==\r\n");
  EXPECT_EQ(client.Write(), "\r\n");
  client.session.Receive("535 5.7.8 not accepted\r\n");
  EXPECT_EQ(client.session.failure().text, "not accepted");
  EXPECT_EQ(client.session.failure().outcome, POSTBUS_PROVIDER_FAULT);

  for (const auto& [auth, challenges] :
       std::map<Auth, int>{{Auth::kPlain, 1}, {Auth::kLogin, 3}, {Auth::kXoauth2, 2}}) {
    Client asked;
    Authenticate(asked, auth);
    for (int i = 0; i < challenges; ++i) {
      EXPECT_EQ(asked.session.state(), Session::State::kOpening);
      asked.Write();
      asked.session.Receive("334 more\r\n");
    }
    EXPECT_EQ(asked.session.failure().text, "the server asks for more than AUTH has to say");
  }
}

TEST(Session, ThrottlesByItsRules) {
  const std::vector<std::string> rules = {"451 4.7.1 slow -> throttled 30s", "554 5.7.1 -> rejected"};
  const auto run = [&](const std::string& replies) {
    Client client;
    client.options.rules = ReplyRules(rules, "none");
    client.session.Open(/*loopback=*/true);
    client.Greet();
    client.session.Take(client.Mail());
    client.Write();
    client.session.Receive(replies);
    if (client.session.wants_permit() != nullptr) {
      client.session.Permit(true);
      client.Write();
      client.session.Receive("451 4.7.1 slow down\r\n");
    }
    EXPECT_EQ(client.ended.size(), 1u) << replies;
    return client.ended.at(0);
  };
  EXPECT_EQ(run("451 4.7.1 slow\r\n503 no\r\n503 no\r\n").outcome, POSTBUS_THROTTLED);
  EXPECT_EQ(run("250 Ok\r\n451 4.7.1 slow\r\n503 no\r\n").outcome, POSTBUS_THROTTLED);
  EXPECT_EQ(run("250 Ok\r\n554 5.7.1 no\r\n503 no\r\n").outcome, POSTBUS_REJECTED_RECIPIENT);
  EXPECT_EQ(run("250 Ok\r\n250 Ok\r\n451 4.7.1 slow\r\n").outcome, POSTBUS_THROTTLED);
  const Ended at_dot = run(kGoOn);
  EXPECT_EQ(at_dot.outcome, POSTBUS_THROTTLED);
  EXPECT_EQ(at_dot.phase, POSTBUS_PHASE_FINAL_DOT);
  EXPECT_EQ(at_dot.retry_after_ms, 30'000u);
  // 421 ends the connection, and this one says why: no other connection is tried with the mail.
  const Ended closed = run("421 4.7.0 Error: too many connections from 192.0.2.1\r\n");
  EXPECT_EQ(closed.outcome, POSTBUS_THROTTLED);
  EXPECT_EQ(closed.phase, POSTBUS_PHASE_MAIL);
}

// --- the point of no return ------------------------------------------------------------------------------------------

TEST(Session, BreaksTheConnectionWhereTheHostDoesNotPermit) {
  Client client;
  client.Greet();
  client.session.Take(client.Mail());
  client.Write();
  client.session.Receive(kGoOn);
  client.session.Permit(false);
  ASSERT_EQ(client.ended.size(), 1u);
  EXPECT_EQ(client.ended[0].outcome, POSTBUS_NOT_SENT);
  EXPECT_EQ(client.session.state(), Session::State::kFailed);
  EXPECT_TRUE(client.session.abandoned());
  EXPECT_EQ(client.Write(), "");
}

TEST(Session, HoldsBackTheEndOfALargeMail) {
  Client client;
  client.Greet();
  std::string raw;
  while (raw.size() < 3 * Session::kHeldBack) raw += ".line\r\n";
  client.session.Take(client.Mail([&](FakeMail& mail) { mail.raw = raw; }));
  client.Write();
  client.session.Receive(kGoOn);
  EXPECT_EQ(client.session.wants_permit(), nullptr);
  EXPECT_EQ(client.session.waiting(), Wait::kDataBlock);
  std::string wire = client.Write(1000);
  EXPECT_GE(wire.size(), raw.size() - Session::kHeldBack);
  ASSERT_NE(client.session.wants_permit(), nullptr);
  EXPECT_EQ(client.session.waiting(), Wait::kNothing);
  client.session.Permit(true);
  client.session.Output();
  EXPECT_TRUE(client.session.holds_permit());

  // The kernel takes part of it and then nothing for too long.
  const std::string_view piece = client.session.Output()[0];
  wire += piece.substr(0, 3);
  client.session.Written(3);
  client.session.PermitLapsed();
  EXPECT_EQ(client.Write(), "");
  ASSERT_NE(client.session.wants_permit(), nullptr);
  client.session.Permit(true);
  wire += client.Write();
  EXPECT_FALSE(client.session.holds_permit());
  std::string expected;
  for (size_t i = 0; i < raw.size() / 7; ++i) expected += "..line\r\n";
  EXPECT_EQ(wire, expected + ".\r\n");
  client.session.Receive("250 Ok\r\n");
  EXPECT_EQ(client.ended.at(0).outcome, POSTBUS_ACCEPTED);
}

TEST(Session, GivesMailsBackBeforeThePointOfNoReturnOnly) {
  // In the envelope.
  for (const bool accepted : {true, false}) {
    Client client;
    client.Greet();
    MailTask& task = client.Mail();
    client.session.Take(task);
    client.Write();
    EXPECT_TRUE(client.session.Withdraw(task, "taken back"));
    ASSERT_EQ(client.ended.size(), 1u);
    EXPECT_EQ(client.ended[0].outcome, POSTBUS_NOT_SENT);
    EXPECT_FALSE(client.session.Withdraw(task, "taken back"));
    EXPECT_FALSE(client.session.idle());
    client.session.Receive(accepted ? kGoOn : "250 Ok\r\n550 no\r\n554 no\r\n");
    EXPECT_EQ(client.session.idle(), !accepted) << "after 354 there is no way out but to break the connection";
    EXPECT_EQ(client.session.abandoned(), accepted);
    EXPECT_EQ(client.Write(), "");
    EXPECT_EQ(client.ended.size(), 1u);
  }
  // At the point, past it, and behind it.
  Client client;
  client.Greet();
  MailTask& task = client.Mail();
  client.session.Take(task);
  client.Write();
  client.session.Receive(kGoOn);
  client.session.Permit(true);
  MailTask& ahead = client.Mail();
  client.session.Take(ahead);
  EXPECT_FALSE(client.session.Withdraw(task, "taken back"));
  client.Write();
  EXPECT_FALSE(client.session.Withdraw(task, "taken back"));
  EXPECT_TRUE(client.session.Withdraw(ahead, "taken back"));
  client.session.Receive("250 Ok\r\n" + kGoOn);
  ASSERT_EQ(client.ended.size(), 2u);
  EXPECT_EQ(client.ended[0].token, 2u);
  EXPECT_EQ(client.ended[1].outcome, POSTBUS_ACCEPTED);
  EXPECT_TRUE(client.session.abandoned());
}

TEST(Session, WithdrawsInLockStep) {
  Client client(false);
  client.Greet();
  MailTask& task = client.Mail();
  client.session.Take(task);
  client.Write();
  EXPECT_TRUE(client.session.Withdraw(task, "taken back"));
  client.session.Receive("250 Ok\r\n");
  EXPECT_TRUE(client.session.idle());
  client.session.Take(client.Mail());
  EXPECT_EQ(client.Write(), "RSET\r\n");
}

// --- lost connections ------------------------------------------------------------------------------------------------

TEST(Session, ReturnsAMailOnceWhereAUsedConnectionDies) {
  const auto use_once = [](Client& client) {
    client.Greet();
    client.session.Take(client.Mail());
    client.Write();
    client.session.Receive(kGoOn);
    client.session.Permit(true);
    client.Write();
    client.session.Receive("250 Ok\r\n");
  };
  for (const std::string reply : {"", "421 4.4.2 idle too long\r\n"}) {
    Client client;
    use_once(client);
    MailTask& task = client.Mail();
    client.session.Take(task);
    client.Write();
    client.session.Receive(reply);
    client.session.Lost("gone");
    EXPECT_EQ(client.returned, std::vector<uint64_t>{2});
    EXPECT_TRUE(task.retried);
    EXPECT_EQ(client.ended.size(), 1u);
    // A second time it is the host's turn.
    client.session.Open(true);
    use_once(client);
    client.session.Take(task);
    client.Write();
    client.session.Lost("gone");
    EXPECT_EQ(client.returned.size(), 1u);
    EXPECT_EQ(client.ended.back().outcome, POSTBUS_NOT_SENT);
  }
  Client fresh;
  fresh.Greet();
  fresh.session.Take(fresh.Mail());
  fresh.Write();
  fresh.session.Lost("gone");
  EXPECT_TRUE(fresh.returned.empty());
  EXPECT_EQ(fresh.ended.at(0).outcome, POSTBUS_NOT_SENT);
}

// --- a dialogue cut at every byte -----------------------------------------------------------------------------------

// A server in a string: takes what the client wrote, says what it answers. Accepts all.
class StringServer {
 public:
  explicit StringServer(bool pipelining) : pipelining_(pipelining) {}

  std::string Answer(const std::string& wire) {
    in_ += wire;
    std::string out;
    for (size_t end = in_.find("\r\n"); end != std::string::npos; end = in_.find("\r\n")) {
      const std::string line = in_.substr(0, end);
      in_.erase(0, end + 2);
      if (data_) {
        if (line != ".") continue;
        data_ = false;
        ++complete;
        out += "250 2.0.0 Ok: queued as " + std::to_string(complete) + "\r\n";
      } else if (line == "DATA") {
        data_ = true;
        out += "354 go\r\n";
      } else if (line.starts_with("EHLO")) {
        out += pipelining_ ? "250-mx\r\n250-PIPELINING\r\n250 SIZE\r\n" : "250 mx\r\n";
      } else {
        out += "250 2.1.0 Ok\r\n";
      }
    }
    return out;
  }

  int complete = 0;

 private:
  const bool pipelining_;
  bool data_ = false;
  std::string in_;
};

struct Conversation {
  explicit Conversation(bool pipelining) : server(pipelining) {}

  Client client;
  StringServer server;
  size_t sent = 0;      // bytes to the server
  size_t received = 0;  // bytes from it
};

// Three mails, one with dots. The wire is cut after `out_limit` bytes to the server or `in_limit` from it; bytes travel
// in pieces of `out_step` and `in_step`.
std::unique_ptr<Conversation> Talk(bool pipelining, size_t out_limit, size_t in_limit, size_t out_step,
                                   size_t in_step) {
  auto run = std::make_unique<Conversation>(pipelining);
  Client& client = run->client;
  std::vector<MailTask*> waiting;
  for (int i = 0; i < 3; ++i) {
    waiting.push_back(&client.Mail([&](FakeMail& mail) {
      if (i == 1) mail.raw = ".\r\n.\r\n..\r\n", mail.recipients = {"a@x", "b@x"};
    }));
  }
  std::reverse(waiting.begin(), waiting.end());
  std::string incoming = "220 mx\r\n";
  bool cut = false;
  while (!cut) {
    bool moved = false;
    while (!incoming.empty() && !cut) {
      const size_t n = std::min({in_step, incoming.size(), in_limit - run->received});
      cut = run->received + n == in_limit;
      run->received += n;
      client.session.Receive(incoming.substr(0, n));
      incoming.erase(0, n);
      moved = true;
    }
    if (cut) break;
    if (client.session.wants_permit() != nullptr) client.session.Permit(true);
    if (!waiting.empty() && (client.session.CanTake() || client.session.CanTakeAhead())) {
      client.session.Take(*waiting.back());
      waiting.pop_back();
    }
    while (!cut) {
      const auto output = client.session.Output();
      if (output.empty()) break;
      const size_t n = std::min({out_step, output[0].size(), out_limit - run->sent});
      incoming += run->server.Answer(std::string(output[0].substr(0, n)));
      client.session.Written(n);
      run->sent += n;
      cut = run->sent == out_limit;
      moved = true;
    }
    if (!moved) break;
  }
  client.session.Lost("cut");
  for (MailTask* task : waiting) client.OnReturned(*task);  // never taken: neither
  return run;
}

TEST(Session, EndsTheSameHoweverTheBytesTravel) {
  for (const bool pipelining : {true, false}) {
    const auto whole = Talk(pipelining, SIZE_MAX, SIZE_MAX, SIZE_MAX, SIZE_MAX);
    ASSERT_EQ(whole->client.ended.size(), 3u);
    EXPECT_EQ(whole->server.complete, 3);
    for (const size_t in_step : {1, 2, 3, 5, 7, 11, 50}) {
      for (const size_t out_step : {1, 2, 3, 5, 100}) {
        const auto run = Talk(pipelining, SIZE_MAX, SIZE_MAX, out_step, in_step);
        ASSERT_EQ(run->client.ended.size(), 3u) << in_step << " " << out_step;
        for (const Ended& end : run->client.ended) EXPECT_EQ(end.outcome, POSTBUS_ACCEPTED);
        EXPECT_EQ(run->sent, whole->sent);
        EXPECT_EQ(run->received, whole->received);
      }
    }
  }
}

TEST(Session, TellsTheTruthWhereverTheDialogueIsCut) {
  for (const bool pipelining : {true, false}) {
    const auto whole = Talk(pipelining, SIZE_MAX, SIZE_MAX, SIZE_MAX, SIZE_MAX);
    const auto check = [&](const Conversation& run, const std::string& where) {
      std::map<uint64_t, int> turns;
      int accepted = 0;
      int in_doubt = 0;
      for (const Ended& end : run.client.ended) {
        ++turns[end.token];
        accepted += end.outcome == POSTBUS_ACCEPTED;
        in_doubt += end.outcome == POSTBUS_IN_DOUBT;
        EXPECT_TRUE(end.outcome == POSTBUS_ACCEPTED || end.outcome == POSTBUS_IN_DOUBT ||
                    end.outcome == POSTBUS_NOT_SENT)
            << where;
      }
      for (const uint64_t token : run.client.returned) ++turns[token];
      for (uint64_t token = 1; token <= 3; ++token) EXPECT_EQ(turns[token], 1) << where;
      // Nothing is called sent that is not there, and what is there and not called sent is called in doubt.
      EXPECT_LE(accepted, run.server.complete) << where;
      EXPECT_GE(accepted + in_doubt, run.server.complete) << where;
      EXPECT_LE(in_doubt, 1) << where;
    };
    for (size_t n = 1; n < whole->received; ++n) {
      const auto run = Talk(pipelining, SIZE_MAX, n, SIZE_MAX, SIZE_MAX);
      check(*run, "after byte " + std::to_string(n) + " from the server");
      EXPECT_EQ(run->received, n);
    }
    for (size_t n = 1; n < whole->sent; ++n) {
      const auto run = Talk(pipelining, n, SIZE_MAX, SIZE_MAX, SIZE_MAX);
      check(*run, "after byte " + std::to_string(n) + " to the server");
      EXPECT_EQ(run->sent, n);
    }
  }
}

}  // namespace
}  // namespace postbus::smtp
