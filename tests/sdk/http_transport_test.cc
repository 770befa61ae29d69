#include "postbus/http_transport.hpp"

#include <gtest/gtest.h>

#include <functional>
#include <latch>
#include <memory>
#include <set>

#include "postbus/testing/fake_host.hpp"
#include "tests/support/http/scripted_http_server.h"

namespace postbus::sdk {
namespace {

using postbus::testing::HttpServerRequest;
using postbus::testing::ScriptedHttpServer;
using testing::Completion;
using testing::FakeHost;
using testing::FakeMail;
using testing::FakeOptions;
using namespace std::chrono_literals;

constexpr std::array kOptions = WithHttpOptions(std::array{StringOption("token", "The token.").Secret()});

// Posts the raw mail; the id is the response's body.
class AcmeTransport : public HttpTransport {
 public:
  AcmeTransport(Host host, const Options& options, uint32_t max_batch = 1, size_t max_batch_bytes = 1 << 20)
      : HttpTransport(
            host, options,
            {.base_url = "https://api.acme.example", .max_batch = max_batch, .max_batch_bytes = max_batch_bytes}),
        token_(options.String("token")) {}

  std::optional<Outcome> Build(const postbus_mail& mail, HttpRequest& request) override {
    if (build) return build(mail, request);
    request.path = "/send/" + std::to_string(mail.token);
    request.headers = {"Authorization: Bearer " + token_};
    request.body = View(mail.raw);
    return std::nullopt;
  }
  Outcome Verdict(const postbus_mail& /*mail*/, const HttpResponse& response) override {
    if (verdict) return verdict(response);
    return VerdictFromHttp(response, response.status == 200 ? response.body : "", response.body);
  }
  void Join(std::span<const HttpRequest> requests, HttpRequest& request) override {
    request.path = "/batch";
    for (const HttpRequest& one : requests) request.body += one.path + "\n";
  }
  std::vector<Outcome> Verdicts(std::span<const postbus_mail* const> batch, const HttpResponse& response) override {
    std::vector<Outcome> outcomes;
    if (response.status == 400) return outcomes;
    for (size_t i = 0; i < (response.body == "short" ? 2 : batch.size()); ++i)
      outcomes.push_back(VerdictFromHttp(response, "batch-" + std::to_string(i)));
    return outcomes;
  }

  // Set before the first Submit.
  std::function<std::optional<Outcome>(const postbus_mail&, HttpRequest&)> build;
  std::function<Outcome(const HttpResponse&)> verdict;

 private:
  const std::string token_;
};

using Given = std::vector<std::pair<std::string, FakeOptions::Value>>;

class HttpTransportTest : public ::testing::Test {
 protected:
  ~HttpTransportTest() override { WaitUntilIdle(); }

  void Serve(ScriptedHttpServer::Script script, ScriptedHttpServer::CloseEarly close_early = nullptr) {
    server_ = std::make_unique<ScriptedHttpServer>(std::move(script), std::move(close_early));
  }
  void Make(Given more = {}, uint32_t max_batch = 1, size_t max_batch_bytes = 1 << 20) {
    Given given = {{"token", "planted-secret"}, {"max_requests", 4}, {"timeout", 60'000}, {"connect_timeout", 30'000}};
    if (server_) given.emplace_back("base_url", server_->url());
    for (auto& one : more) given.push_back(std::move(one));
    const FakeOptions options(kOptions, std::move(given));
    transport_ = std::make_unique<AcmeTransport>(host_.host(), options.options(), max_batch, max_batch_bytes);
  }
  FakeMail& Mail(uint64_t token) { return *mails_.emplace_back(std::make_unique<FakeMail>(token)); }
  uint32_t Submit(const std::vector<const postbus_mail*>& mails) { return transport_->Submit(mails); }

  Outcome Send(FakeMail& mail) {
    EXPECT_EQ(Submit({&mail.view()}), 1u);
    return OutcomeOf(mail.token);
  }
  // The one outcome of a mail.
  Outcome OutcomeOf(uint64_t token) {
    EXPECT_TRUE(Eventually([&] { return !host_.completions(token).empty(); })) << "token " << token;
    const std::vector<Completion> completions = host_.completions(token);
    EXPECT_EQ(completions.size(), 1u) << "token " << token;
    return completions.empty() ? Outcome() : completions[0].outcome;
  }
  bool Eventually(const std::function<bool()>& condition) {
    const auto limit = std::chrono::steady_clock::now() + 60s;
    while (!condition()) {
      if (std::chrono::steady_clock::now() > limit) return false;
      std::this_thread::sleep_for(1ms);
    }
    return true;
  }
  // As the host does before destroy.
  void WaitUntilIdle() {
    EXPECT_TRUE(Eventually([&] { return !transport_ || transport_->Outstanding() == 0; }));
  }
  void WaitForRequests(size_t n) {
    ASSERT_TRUE(Eventually([&] { return server_->requests().size() >= n; }));
  }

  FakeHost host_;
  std::vector<std::unique_ptr<FakeMail>> mails_;
  std::unique_ptr<ScriptedHttpServer> server_;
  std::unique_ptr<AcmeTransport> transport_;
};

ScriptedHttpServer::Script Always(std::optional<std::string> answer) {
  return [answer](const HttpServerRequest&) { return answer; };
}
const std::string kOk = ScriptedHttpServer::Answer(200, "id-7");

TEST_F(HttpTransportTest, SendsAndAccepts) {
  Serve(Always(kOk));
  Make();
  FakeMail& mail = Mail(7);
  mail.raw = std::string("binary \0\xff\r\n", 11) + std::string(300'000, 'x');
  const Outcome outcome = Send(mail);
  EXPECT_EQ(outcome.outcome, POSTBUS_ACCEPTED) << outcome.text;
  EXPECT_EQ(outcome.provider_id, "id-7");
  EXPECT_EQ(outcome.code, 200);
  ASSERT_EQ(server_->requests().size(), 1u);
  const HttpServerRequest request = server_->requests()[0];
  EXPECT_EQ(request.body, mail.raw);
  EXPECT_TRUE(request.head.starts_with("POST /send/7 HTTP/1.1\r\n")) << request.head;
  EXPECT_NE(request.head.find("\r\nHost: " + transport_->authority() + "\r\n"), std::string::npos) << request.head;
  EXPECT_NE(request.head.find("\r\nAuthorization: Bearer planted-secret\r\n"), std::string::npos);
  EXPECT_NE(request.head.find("\r\nUser-Agent: postbus/"), std::string::npos);
  EXPECT_EQ(request.head.find("Expect:"), std::string::npos);
  EXPECT_EQ(host_.asked(), std::vector<uint64_t>{7});
}

TEST_F(HttpTransportTest, KeepsConnections) {
  Serve(Always(kOk));
  Make();
  for (uint64_t token = 1; token <= 20; ++token) EXPECT_EQ(Send(Mail(token)).outcome, POSTBUS_ACCEPTED);
  for (const HttpServerRequest& request : server_->requests()) EXPECT_EQ(request.connection, 0u);
}

TEST_F(HttpTransportTest, VerdictIsTheAuthors) {
  Serve(Always(ScriptedHttpServer::Answer(429, "slow down, ada@example.org", "Retry-After: 3\r\n")));
  Make();
  const Outcome outcome = Send(Mail(1));
  EXPECT_EQ(outcome.outcome, POSTBUS_THROTTLED);
  EXPECT_EQ(outcome.retry_after_ms, 3000u);
  EXPECT_EQ(outcome.text, "slow down, <address>");
}

TEST_F(HttpTransportTest, AbortSendsNoBody) {
  Serve(Always(kOk));
  Make();
  host_.Abort(1);
  EXPECT_EQ(Send(Mail(1)).outcome, POSTBUS_NOT_SENT);
  EXPECT_EQ(Send(Mail(2)).outcome, POSTBUS_ACCEPTED);
  ASSERT_EQ(server_->requests().size(), 1u);
  EXPECT_TRUE(server_->requests()[0].head.starts_with("POST /send/2 "));
}

TEST_F(HttpTransportTest, NoAnswerIsInDoubt) {
  Serve(Always(""));
  Make();
  const Outcome outcome = Send(Mail(1));
  EXPECT_EQ(outcome.outcome, POSTBUS_IN_DOUBT) << outcome.text;
  EXPECT_EQ(server_->requests().size(), 1u);
}

// curl would repeat a request on another connection when a kept one dies under it: the mail would be sent twice.
TEST_F(HttpTransportTest, KeptConnectionThatDiesAfterTheBodyIsInDoubtAndNotRepeated) {
  Serve([](const HttpServerRequest& request) -> std::optional<std::string> {
    return request.body == "second" ? "" : kOk;
  });
  Make();
  EXPECT_EQ(Send(Mail(1)).outcome, POSTBUS_ACCEPTED);
  FakeMail& second = Mail(2);
  second.raw = "second";
  EXPECT_EQ(Send(second).outcome, POSTBUS_IN_DOUBT);
  EXPECT_EQ(Send(Mail(3)).outcome, POSTBUS_ACCEPTED);
  EXPECT_EQ(server_->requests().size(), 3u);
  EXPECT_EQ(server_->requests()[1].connection, 0u) << "the test needs a kept connection";
}

TEST_F(HttpTransportTest, HangIsInDoubtByItsTimeout) {
  Serve(Always(std::nullopt));
  Make({{"timeout", 300}});
  const Outcome outcome = Send(Mail(1));
  EXPECT_EQ(outcome.outcome, POSTBUS_IN_DOUBT) << outcome.text;
  EXPECT_EQ(server_->requests().size(), 1u);
}

TEST_F(HttpTransportTest, CutAnswerIsInDoubt) {
  Serve(Always("HTTP/1.1 200 OK\r\nContent-Length: 100\r\nConnection: close\r\n\r\nhalf"), nullptr);
  Make({{"timeout", 300}});
  EXPECT_EQ(Send(Mail(1)).outcome, POSTBUS_IN_DOUBT);
}

TEST_F(HttpTransportTest, NoHttpIsInDoubt) {
  Serve(Always("220 mail.example ESMTP\r\n"));
  Make();
  EXPECT_EQ(Send(Mail(1)).outcome, POSTBUS_IN_DOUBT);
}

TEST_F(HttpTransportTest, ConnectionRefusedIsTheProvidersFault) {
  Serve(Always(kOk));
  const std::string url = server_->url();
  server_.reset();
  Make({{"base_url", url}});
  const Outcome outcome = Send(Mail(1));
  EXPECT_EQ(outcome.outcome, POSTBUS_PROVIDER_FAULT);
  EXPECT_EQ(outcome.phase, POSTBUS_PHASE_CONNECT);
  EXPECT_TRUE(host_.asked().empty());
  std::string report;
  EXPECT_FALSE(transport_->Probe(host_.NowMs() + 30'000, report));
  EXPECT_FALSE(report.empty());
}

TEST_F(HttpTransportTest, NoTlsIsTheProvidersFault) {
  Serve(Always(kOk));
  Make({{"base_url", "https" + server_->url().substr(4)}});
  const Outcome outcome = Send(Mail(1));
  EXPECT_EQ(outcome.outcome, POSTBUS_PROVIDER_FAULT);
  EXPECT_EQ(outcome.phase, POSTBUS_PHASE_TLS) << outcome.text;
  EXPECT_TRUE(host_.asked().empty());
}

TEST_F(HttpTransportTest, UnknownProxyIsTheProvidersFault) {
  Make({{"proxy", "http://user:planted-secret@proxy.invalid:3128"}});
  const Outcome outcome = Send(Mail(1));
  EXPECT_EQ(outcome.outcome, POSTBUS_PROVIDER_FAULT);
  EXPECT_EQ(outcome.text.find("planted-secret"), std::string::npos) << outcome.text;
}

TEST_F(HttpTransportTest, GoesThroughTheProxy) {
  Serve(Always(kOk));
  Make({{"base_url", "http://localhost:1"}, {"proxy", server_->url()}});
  EXPECT_EQ(Send(Mail(5)).outcome, POSTBUS_ACCEPTED);
  EXPECT_TRUE(server_->requests()[0].head.starts_with("POST http://localhost:1/send/5 "))
      << server_->requests()[0].head;
}

TEST_F(HttpTransportTest, RefusedByBuild) {
  Serve(Always(kOk));
  Make();
  transport_->build = [](const postbus_mail&, HttpRequest&) { return Outcome::Unsupported("no such thing"); };
  EXPECT_EQ(Send(Mail(1)).outcome, POSTBUS_UNSUPPORTED);
  EXPECT_TRUE(host_.asked().empty());
}

TEST_F(HttpTransportTest, DefectsOfThePlugin) {
  Serve(Always(kOk));
  Make();
  std::function<void(HttpRequest&)> defect;
  transport_->build = [&](const postbus_mail&, HttpRequest& request) -> std::optional<Outcome> {
    request.path = "/";
    request.body = "x";
    defect(request);
    return std::nullopt;
  };
  uint64_t token = 0;
  for (const auto& one : std::vector<std::function<void(HttpRequest&)>>{
           [](HttpRequest&) { throw std::runtime_error("oops"); },
           [](HttpRequest& request) { request.body.clear(); },
           [](HttpRequest& request) { request.headers = {"Authorization: planted-secret\nX: y"}; },
       }) {
    defect = one;
    const Outcome outcome = Send(Mail(++token));
    EXPECT_EQ(outcome.outcome, POSTBUS_PROVIDER_FAULT) << outcome.text;
    EXPECT_EQ(outcome.text.find("planted-secret"), std::string::npos) << outcome.text;
  }
  EXPECT_TRUE(server_->requests().empty());
  defect = [](HttpRequest&) {};
  transport_->verdict = [](const HttpResponse&) -> Outcome { throw 42; };
  EXPECT_EQ(Send(Mail(++token)).outcome, POSTBUS_IN_DOUBT);
}

TEST_F(HttpTransportTest, PastItsDeadlineBeforeTheRequest) {
  Serve(Always(kOk));
  Make();
  FakeMail& mail = Mail(1);
  mail.deadline_ms = host_.NowMs() - 1;
  EXPECT_EQ(Send(mail).outcome, POSTBUS_NOT_SENT);
  EXPECT_TRUE(server_->requests().empty());
}

TEST_F(HttpTransportTest, ConcurrencyIsLimitedAndTheRestIsTakenLater) {
  std::latch open(1);
  Serve([&](const HttpServerRequest&) {
    open.wait();
    return kOk;
  });
  Make({{"max_requests", 2}});
  std::vector<const postbus_mail*> views;
  for (uint64_t token = 1; token <= 10; ++token) views.push_back(&Mail(token).view());
  EXPECT_EQ(Submit(views), 4u) << "two under way, two waiting";
  WaitForRequests(2);
  EXPECT_EQ(transport_->Outstanding(), 4u);
  EXPECT_EQ(host_.asked().size(), 2u);
  EXPECT_EQ(host_.writable_calls(), 0u);
  open.count_down();
  EXPECT_TRUE(host_.WaitForWritable(60s));
  EXPECT_TRUE(host_.WaitForCompletions(4, 60s));
}

TEST_F(HttpTransportTest, CancelTakesBackWhatIsNotOut) {
  Serve(Always(std::nullopt));
  Make({{"max_requests", 1}});
  Submit({&Mail(1).view(), &Mail(2).view()});
  WaitForRequests(1);
  const uint64_t tokens[] = {1, 2, 99};
  transport_->Cancel(tokens);
  EXPECT_EQ(OutcomeOf(2).outcome, POSTBUS_NOT_SENT);
  EXPECT_TRUE(host_.completions(1).empty()) << "it is past its point of no return";
  transport_->Quiesce(host_.NowMs());
  EXPECT_EQ(OutcomeOf(1).outcome, POSTBUS_IN_DOUBT);
}

TEST_F(HttpTransportTest, CancelWhileConnecting) {
  // A listener whose queue is never taken from: connecting to it ends in the kernel, and TLS waits for ever.
  Serve(Always(kOk), [](const HttpServerRequest&) { return false; });
  const int silent = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  ASSERT_EQ(::bind(silent, reinterpret_cast<sockaddr*>(&address), size), 0);
  ASSERT_EQ(::listen(silent, 10), 0);
  ASSERT_EQ(::getsockname(silent, reinterpret_cast<sockaddr*>(&address), &size), 0);
  Make({{"base_url", "https://127.0.0.1:" + std::to_string(ntohs(address.sin_port))}});
  Submit({&Mail(1).view(), &Mail(2).view()});
  const uint64_t tokens[] = {1};
  transport_->Cancel(tokens);
  EXPECT_EQ(OutcomeOf(1).outcome, POSTBUS_NOT_SENT);
  FakeMail& late = Mail(3);
  late.deadline_ms = host_.NowMs() + 100;
  EXPECT_EQ(Send(late).outcome, POSTBUS_NOT_SENT) << "its deadline";
  transport_->Quiesce(host_.NowMs());
  EXPECT_EQ(OutcomeOf(2).outcome, POSTBUS_NOT_SENT);
  EXPECT_TRUE(host_.asked().empty());
  ::close(silent);
}

// Nothing of the mail is out, so it may be sent again, and by curl itself while it can.
TEST_F(HttpTransportTest, ClosedAfterTheHeadIsNotSentOrDoneAgain) {
  std::atomic<int> heads = 0;
  Serve(Always(kOk), [&](const HttpServerRequest&) { return ++heads == 2; });
  Make();
  EXPECT_EQ(Send(Mail(1)).outcome, POSTBUS_ACCEPTED);
  FakeMail& large = Mail(2);  // more than the kernels' buffers hold, so that the end comes before it is out
  large.raw.assign(64 << 20, 'x');
  const Outcome outcome = Send(large);
  EXPECT_TRUE(outcome.outcome == POSTBUS_IN_DOUBT || outcome.outcome == POSTBUS_NOT_SENT) << outcome.text;
  EXPECT_EQ(server_->requests().size(), 1u) << "no second copy";
}

TEST_F(HttpTransportTest, BatchOfWhatWaits) {
  std::latch open(1);
  Serve([&](const HttpServerRequest&) {
    open.wait();
    return kOk;
  });
  Make({{"max_requests", 1}}, 3);
  Submit({&Mail(1).view()});
  WaitForRequests(1);
  Submit({&Mail(2).view(), &Mail(3).view(), &Mail(4).view(), &Mail(5).view()});
  host_.Abort(3);
  open.count_down();
  EXPECT_EQ(OutcomeOf(1).provider_id, "id-7");
  EXPECT_EQ(OutcomeOf(3).outcome, POSTBUS_NOT_SENT);
  // 2 and 4 lost their request with 3, and went out again with 5.
  EXPECT_EQ(OutcomeOf(2).provider_id, "batch-0");
  EXPECT_EQ(OutcomeOf(4).provider_id, "batch-1");
  EXPECT_EQ(OutcomeOf(5).provider_id, "batch-2");
  ASSERT_EQ(server_->requests().size(), 2u);
  EXPECT_EQ(server_->requests()[1].body, "/send/2\n/send/4\n/send/5\n");
}

TEST_F(HttpTransportTest, BatchIsBoundedInBytes) {
  std::latch open(1);
  Serve([&](const HttpServerRequest&) {
    open.wait();
    return kOk;
  });
  Make({{"max_requests", 1}}, 10, 1000);
  Submit({&Mail(1).view()});
  WaitForRequests(1);
  for (uint64_t token = 2; token <= 6; ++token) Mail(token).raw.assign(400, 'x');
  mails_[5]->raw.assign(5000, 'x');  // larger than the bound: alone
  Submit({&mails_[1]->view(), &mails_[2]->view(), &mails_[3]->view(), &mails_[4]->view(), &mails_[5]->view()});
  open.count_down();
  for (uint64_t token = 1; token <= 6; ++token) EXPECT_EQ(OutcomeOf(token).outcome, POSTBUS_ACCEPTED);
  std::vector<std::string> bodies;
  for (const HttpServerRequest& request : server_->requests()) bodies.push_back(request.body);
  ASSERT_EQ(bodies.size(), 4u);
  EXPECT_EQ(bodies[1], "/send/2\n/send/3\n");
  EXPECT_EQ(bodies[2], "/send/4\n/send/5\n");
  EXPECT_EQ(bodies[3].size(), 5000u);
}

TEST_F(HttpTransportTest, BatchWithTooFewResultsIsInDoubt) {
  std::latch open(1);
  Serve([&](const HttpServerRequest& request) {
    open.wait();
    return ScriptedHttpServer::Answer(200, request.head.starts_with("POST /batch ") ? "short" : "id");
  });
  Make({{"max_requests", 1}}, 3);
  Submit({&Mail(1).view()});
  WaitForRequests(1);
  Submit({&Mail(2).view(), &Mail(3).view(), &Mail(4).view()});
  open.count_down();
  for (uint64_t token = 2; token <= 4; ++token) EXPECT_EQ(OutcomeOf(token).outcome, POSTBUS_IN_DOUBT);
}

// One bad mail makes the provider refuse them all: the others must not be dead-lettered for it.
TEST_F(HttpTransportTest, RefusedBatchIsTakenApart) {
  std::latch open(1);
  Serve([&](const HttpServerRequest& request) {
    open.wait();
    const bool bad = request.head.starts_with("POST /batch ") || request.head.starts_with("POST /send/3 ");
    return bad ? ScriptedHttpServer::Answer(400, "bad") : kOk;
  });
  Make({{"max_requests", 1}}, 3);
  Submit({&Mail(1).view()});
  WaitForRequests(1);
  Submit({&Mail(2).view(), &Mail(3).view(), &Mail(4).view()});
  open.count_down();
  EXPECT_EQ(OutcomeOf(2).outcome, POSTBUS_ACCEPTED);
  EXPECT_EQ(OutcomeOf(3).outcome, POSTBUS_REJECTED_MESSAGE);
  EXPECT_EQ(OutcomeOf(4).outcome, POSTBUS_ACCEPTED);
  EXPECT_EQ(server_->requests().size(), 5u);
}

TEST_F(HttpTransportTest, ManyEachOnce) {
  Serve([](const HttpServerRequest& request) { return ScriptedHttpServer::Answer(200, request.head.substr(0, 20)); });
  Make({{"max_requests", 8}});
  constexpr uint64_t kMails = 2000;
  for (uint64_t token = 1; token <= kMails;) {
    FakeMail& mail = Mail(token);
    ASSERT_TRUE(Eventually([&] { return Submit({&mail.view()}) == 1; }));
    ++token;
  }
  ASSERT_TRUE(host_.WaitForCompletions(kMails, 90s));
  std::set<uint64_t> tokens;
  for (const Completion& completion : host_.completions()) {
    EXPECT_EQ(completion.outcome.outcome, POSTBUS_ACCEPTED) << completion.outcome.text;
    tokens.insert(completion.token);
  }
  EXPECT_EQ(tokens.size(), kMails);
  EXPECT_EQ(server_->requests().size(), kMails);
}

TEST_F(HttpTransportTest, OptionsThatCannotBe) {
  const auto error = [&](Given given) -> std::string {
    try {
      Make(std::move(given));
    } catch (const std::runtime_error& e) {
      return e.what();
    }
    return "none";
  };
  EXPECT_EQ(error({{"base_url", "http://api.acme.example"}}),
            "base_url: must begin with https://; http:// goes to this machine only");
  EXPECT_EQ(error({{"base_url", "ftp://localhost"}}),
            "base_url: must begin with https://; http:// goes to this machine only");
  EXPECT_EQ(error({{"base_url", "https://"}}), "base_url: not a URL; write scheme://host[:port]");
  EXPECT_EQ(error({{"ca_file", "/does/not/exist"}}), "ca_file: cannot read /does/not/exist: No such file or directory");
  EXPECT_EQ(error({{"proxy", "::"}}), "proxy: not a URL; write scheme://host[:port]");
  EXPECT_EQ(error({{"base_url", "https://localhost:8443/"}}), "none");
  EXPECT_EQ(transport_->authority(), "localhost:8443");
}

}  // namespace
}  // namespace postbus::sdk
