#include "api/email_api.h"

#include <gtest/gtest.h>

#include "api/idempotency.h"
#include "api/problem.h"
#include "event/clock.h"
#include "tests/api/email_api_fakes.h"
#include "tests/api/http_client.h"

namespace postbus {
namespace {

class EmailApiTest : public testing::Test {
 protected:
  EmailApiTest() { config_.defaults_from = "Usual Store <noreply@usualstore.com>"; }

  using Headers = std::vector<std::pair<std::string, std::string>>;
  HttpResponse PostWithKey(std::string body, std::string key, std::string path = "/v1/emails") {
    return Handle(std::move(body), "POST", std::move(path),
                  {{"Content-Type", "application/json"}, {"idempotency-key", std::move(key)}});
  }
  HttpResponse PostBatch(std::string body) { return Handle(std::move(body), "POST", "/v1/emails/batch"); }

  // Handles one request at once, without a socket.
  HttpResponse Handle(std::string body, std::string method = "POST", std::string path = "/v1/emails",
                      Headers headers = {{"content-type", "application/json; charset=utf-8"}}) {
    if (!api_) api_ = std::make_unique<EmailApi>(config_, ShippedTemplates(), queue_, history_, metrics_);
    HttpRequest request;
    request.method = std::move(method);
    request.path = std::move(path);
    request.headers = std::move(headers);
    request.body = std::move(body);
    HttpResponse answer;
    answer.status = 0;
    api_->Handle(std::move(request), [&](HttpResponse response) { answer = std::move(response); });
    return answer;
  }

  Config config_;
  SayingQueue queue_;
  SayingHistory history_;
  Metrics metrics_;
  std::unique_ptr<EmailApi> api_;
};

std::string_view HeaderOf(const HttpResponse& response, std::string_view name) {
  for (const auto& [key, value] : response.headers) {
    if (key == name) return value;
  }
  return {};
}

constexpr std::string_view kMail =
    R"({"to":"ada@example.com","template":"password-reset","data":{"Link":"https://x.org/r?t=1"}})";

TEST_F(EmailApiTest, AcceptsAMessage) {
  const int64_t before = UnixTimeMs();
  const HttpResponse answer = Handle(std::string(kMail));
  EXPECT_EQ(answer.status, 202);
  EXPECT_EQ(answer.body, "{\"id\":\"" + queue_.last_id + "\",\"status\":\"pending\"}\n");
  EXPECT_EQ(HeaderOf(answer, "Location"), "/v1/emails/" + queue_.last_id);
  EXPECT_EQ(queue_.last_priority, Priority::kNormal);
  EventDecoder decoder;
  EmailEvent event;
  ASSERT_TRUE(decoder.Decode(queue_.last_value, Strictness::kQueue, event));
  EXPECT_EQ(event.id, queue_.last_id);
  EXPECT_EQ(event.from.address, "noreply@usualstore.com");
  EXPECT_EQ(event.to.at(0).address, "ada@example.com");
  EXPECT_GE(event.timestamp_unix_ms, before);
  EXPECT_LE(event.timestamp_unix_ms, UnixTimeMs());
  EXPECT_EQ(queue_.last_value.substr(event.data.offset, event.data.size), R"({"Link":"https://x.org/r?t=1"})");
}

TEST_F(EmailApiTest, AcceptsAWholeEventWithItsIdAndTime) {
  const HttpResponse answer = Handle(
      R"({"type":"x","message":{"id":"my-1","from":"a@b.org","to":["c@d.org"],"template":"password-reset","data":{"Link":"x"},)"
      R"("priority":"high","timestamp":"2025-12-25T20:00:00Z","retry_count":7,"status":"sent"}})");
  EXPECT_EQ(answer.status, 202) << answer.body;
  EXPECT_EQ(queue_.last_id, "my-1");
  EXPECT_EQ(queue_.last_priority, Priority::kHigh);
  EXPECT_NE(queue_.last_value.find("2025-12-25T20:00:00"), std::string::npos);
  EXPECT_NE(queue_.last_value.find(R"("status":"pending")"), std::string::npos);
  EXPECT_EQ(queue_.last_value.find("\"retry_count\":7"), std::string::npos);
}

TEST_F(EmailApiTest, AnswersOnlyAfterTheQueueHasIt) {
  queue_.hold = true;
  EXPECT_EQ(Handle(std::string(kMail)).status, 0) << "no answer yet";
  ASSERT_TRUE(queue_.held);
}

TEST_F(EmailApiTest, RefusesWithPointers) {
  const HttpResponse answer = Handle(R"({"to":["ok@x.org","no-at-sign"],"template":"t","subjet":"x"})");
  EXPECT_EQ(answer.status, 422);
  EXPECT_EQ(answer.content_type, "application/problem+json");
  EXPECT_NE(answer.body.find(R"("pointer":"/to/1")"), std::string::npos) << answer.body;
  EXPECT_NE(answer.body.find(R"("pointer":"/subjet")"), std::string::npos) << answer.body;
  EXPECT_NE(answer.body.find(R"(did you mean \"subject\")"), std::string::npos) << answer.body;
  EXPECT_NE(answer.body.find(R"("code":"invalid_event")"), std::string::npos);
  EXPECT_EQ(queue_.published, 0);
}

TEST_F(EmailApiTest, AScheduleThatIsTooFarAheadIsRefused) {
  const auto mail = [](int64_t days) {
    return R"({"to":"a@x.org","subject":"s","text":"t","scheduled_at":")" +
           FormatRfc3339(UnixTimeMs() + days * 86'400'000) + "\"}";
  };
  EXPECT_EQ(Handle(mail(365)).status, 202);
  const HttpResponse answer = Handle(mail(367));
  EXPECT_EQ(answer.status, 422);
  EXPECT_NE(answer.body.find(R"("pointer":"/scheduled_at")"), std::string::npos) << answer.body;
}

TEST_F(EmailApiTest, MalformedJsonIs400) {
  for (const std::string body : {"", "{", "nonsense", "[]", "\"x\"", "{\"to\":}", "{\"to\":\"\xff\"}"}) {
    const HttpResponse answer = Handle(body);
    EXPECT_TRUE(answer.status == 400 || answer.status == 422) << body << answer.body;
    EXPECT_EQ(answer.content_type, "application/problem+json");
  }
  EXPECT_EQ(Handle("{").status, 400);
  EXPECT_EQ(queue_.published, 0);
}

TEST_F(EmailApiTest, WithoutAnySenderIsRefused) {
  config_.defaults_from.clear();
  const HttpResponse answer = Handle(std::string(kMail));
  EXPECT_EQ(answer.status, 422);
  EXPECT_NE(answer.body.find(R"("pointer":"/from")"), std::string::npos);
}

TEST_F(EmailApiTest, OtherRoutesMethodsTypesAndHeaders) {
  EXPECT_EQ(Handle("", "GET", "/nowhere").status, 404);
  const HttpResponse get = Handle("", "GET");
  EXPECT_EQ(get.status, 405);
  EXPECT_EQ(HeaderOf(get, "Allow"), "POST");
  EXPECT_EQ(Handle(std::string(kMail), "POST", "/v1/emails", {{"Content-Type", "text/plain"}}).status, 415);
  EXPECT_EQ(Handle(std::string(kMail), "POST", "/v1/emails", {}).status, 415);
  EXPECT_EQ(queue_.published, 0);
}

TEST_F(EmailApiTest, TooLargeIs413) {
  config_.limits.max_bytes = 200;
  EXPECT_EQ(Handle(R"({"to":"a@b.org","template":"t","data":{"x":")" + std::string(200, 'x') + "\"}}").status, 413);
}

TEST_F(EmailApiTest, AQueueThatCannotIs503WithRetryAfter) {
  queue_.refuse = true;
  HttpResponse answer = Handle(std::string(kMail));
  EXPECT_EQ(answer.status, 503);
  EXPECT_EQ(HeaderOf(answer, "Retry-After"), "1");
  queue_.refuse = false;
  queue_.answer = Status::Unavailable("the disk is full");
  answer = Handle(std::string(kMail));
  EXPECT_EQ(answer.status, 503);
  EXPECT_NE(answer.body.find("nothing was accepted: the disk is full"), std::string::npos) << answer.body;
}

TEST_F(EmailApiTest, WhatMayHaveBeenAcceptedIs503WithWhatToRepeat) {
  queue_.answer = Status::Uncertain("no answer");
  HttpResponse answer = Handle(std::string(kMail));
  EXPECT_EQ(answer.status, 503);
  EXPECT_EQ(HeaderOf(answer, "Retry-After"), "1");
  EXPECT_NE(answer.body.find("\"id\":\"" + queue_.last_id + "\""), std::string::npos) << answer.body;
  EXPECT_NE(answer.body.find("with this id"), std::string::npos) << answer.body;
  answer = PostWithKey(std::string(kMail), "k-1");
  EXPECT_NE(answer.body.find("\"id\":\"" + IdOfKey("k-1") + "\""), std::string::npos) << answer.body;
  EXPECT_NE(answer.body.find("Repeat the request with this Idempotency-Key"), std::string::npos) << answer.body;
  answer = PostBatch("[" + std::string(kMail) + "," + std::string(kMail) + "]");
  EXPECT_EQ(answer.status, 503);
  EXPECT_NE(answer.body.find("\"data\":[{\"id\":\"" + queue_.ids[0] + "\"},{\"id\":\"" + queue_.ids[1] + "\"}]"),
            std::string::npos)
      << answer.body;
}

TEST_F(EmailApiTest, AKeyFixesTheIdAndNamesTheRequest) {
  const HttpResponse answer = PostWithKey(std::string(kMail), "order-17");
  EXPECT_EQ(answer.status, 202) << answer.body;
  EXPECT_EQ(queue_.last_id, IdOfKey("order-17"));
  EXPECT_EQ(queue_.request_id, IdOfKey("order-17"));
  EXPECT_EQ(queue_.digest, DigestOf(kMail));
  Handle(std::string(kMail));
  EXPECT_EQ(queue_.request_id, "") << "without a key nothing is remembered";
  EXPECT_EQ(queue_.digest, "");
}

TEST_F(EmailApiTest, AKeyWithAnotherBodyIs422) {
  queue_.answer = Status::Conflict("known");
  const HttpResponse answer = PostWithKey(std::string(kMail), "k");
  EXPECT_EQ(answer.status, 422);
  EXPECT_NE(answer.body.find("\"code\":\"idempotency_key_reused\""), std::string::npos) << answer.body;
}

TEST_F(EmailApiTest, AKeyThatIsNoneIs400) {
  for (const std::string& key : {std::string(), std::string("a\tb"), std::string("\xC3\xA9"), std::string(256, 'k')}) {
    EXPECT_EQ(PostWithKey(std::string(kMail), key).status, 400) << key;
  }
  EXPECT_EQ(Handle(std::string(kMail), "POST", "/v1/emails",
                   {{"Content-Type", "application/json"}, {"Idempotency-Key", "a"}, {"Idempotency-Key", "a"}})
                .status,
            400);
  EXPECT_EQ(queue_.published, 0);
}

TEST_F(EmailApiTest, AKeyAndAnIdAreOneTooMany) {
  const HttpResponse answer =
      PostWithKey(R"({"id":"x","to":"a@b.org","template":"password-reset","data":{"Link":"x"}})", "k");
  EXPECT_EQ(answer.status, 422);
  EXPECT_NE(answer.body.find(R"("pointer":"/id")"), std::string::npos) << answer.body;
}

TEST_F(EmailApiTest, AcceptsABatch) {
  const HttpResponse answer = PostBatch(
      R"([ {"to":"a@b.org","template":"password-reset","data":{"Link":"x"}} ,)"
      R"({"type":"t","message":{"id":"mine","to":["c@d.org","e@f.org"],"template":"password-reset","data":{"Link":"],["}}}])");
  EXPECT_EQ(answer.status, 202) << answer.body;
  EXPECT_EQ(queue_.published, 1) << "in one go";
  ASSERT_EQ(queue_.ids.size(), 2u);
  EXPECT_EQ(answer.body, "{\"data\":[{\"id\":\"" + queue_.ids[0] + "\"},{\"id\":\"mine\"}]}\n");
  EXPECT_EQ(queue_.last_recipients, RecipientSet::All(2));
  EXPECT_NE(queue_.last_value.find("],["), std::string::npos);
}

TEST_F(EmailApiTest, ABatchWithAKeyHasFixedIds) {
  const std::string batch = "[" + std::string(kMail) + "," + std::string(kMail) + "]";
  EXPECT_EQ(PostWithKey(batch, "k", "/v1/emails/batch").status, 202);
  EXPECT_EQ(queue_.ids, (std::vector<std::string>{IdOfKey("k", 0), IdOfKey("k", 1)}));
  EXPECT_EQ(queue_.request_id, IdOfKey("k"));
}

TEST_F(EmailApiTest, OneInvalidMailRefusesTheBatch) {
  const std::string good(kMail);
  const HttpResponse answer = PostBatch(
      "[" + good + "," + good + R"(,{"to":["x@y.org","no"],"template":"password-reset","data":{"Link":"x"}},)" +
      R"({"type":"","message":{"to":"a@b.org","template":"password-reset"}},{"to":}])");
  EXPECT_EQ(answer.status, 422);
  EXPECT_NE(answer.body.find(R"("pointer":"/2/to/1")"), std::string::npos) << answer.body;
  EXPECT_NE(answer.body.find(R"("pointer":"/3/data/Link")"), std::string::npos) << answer.body;
  EXPECT_NE(answer.body.find(R"("pointer":"/4")"), std::string::npos) << answer.body;
  EXPECT_EQ(queue_.published, 0);
}

TEST_F(EmailApiTest, WhatIsNoBatch) {
  for (const std::string body : {"", "{}", "[", "[{}", "[{},]", "[,{}]", "nonsense"}) {
    EXPECT_EQ(PostBatch(body).status, 400) << body;
  }
  EXPECT_EQ(PostBatch("[]").status, 422);
  std::string many = "[" + std::string(kMail);
  for (size_t i = 1; i < EmailApi::kMaxBatch; ++i) many += "," + std::string(kMail);
  EXPECT_EQ(PostBatch(many + "]").status, 202);
  EXPECT_EQ(queue_.ids.size(), EmailApi::kMaxBatch);
  EXPECT_EQ(PostBatch(many + "," + std::string(kMail) + "]").status, 422);
  EXPECT_EQ(Handle("", "GET", "/v1/emails/batch").status, 405);
}

TEST_F(EmailApiTest, AMailOfABatchMayBeAsLargeAsOneAlone) {
  config_.limits.max_bytes = 6000;
  const std::string large =
      R"({"to":"a@b.org","template":"password-reset","data":{"Link":")" + std::string(2000, 'x') + "\"}}";
  const HttpResponse answer = PostBatch("[" + std::string(kMail) + "," + large + "]");
  EXPECT_EQ(answer.status, 422);
  EXPECT_NE(answer.body.find(R"("pointer":"/1","detail":"the mail is larger than limits.max_event)"), std::string::npos)
      << answer.body;
}

TEST_F(EmailApiTest, RefusesAnUnknownTemplateWithTheNearest) {
  const HttpResponse answer = Handle(R"({"to":"a@b.org","template":"pasword-reset","data":{"Link":"x"}})");
  EXPECT_EQ(answer.status, 422);
  EXPECT_NE(answer.body.find(R"("pointer":"/template","detail":"there is no template \"pasword-reset\"; did you mean )"
                             R"(\"password-reset\"?")"),
            std::string::npos)
      << answer.body;
  EXPECT_EQ(queue_.published, 0);
}

TEST_F(EmailApiTest, RefusesMissingVariablesWithTheirPlace) {
  HttpResponse answer = Handle(R"({"to":"a@b.org","template":"password-reset"})");
  EXPECT_EQ(answer.status, 422);
  EXPECT_NE(answer.body.find(R"("pointer":"/data/Link","detail":"is not in data")"), std::string::npos) << answer.body;
  answer = Handle(R"({"to":"a@b.org","template":"password-reset","data":{"Link":["x"]}})");
  EXPECT_NE(answer.body.find(R"("pointer":"/data/Link","detail":"is a list)"), std::string::npos) << answer.body;
  EXPECT_EQ(queue_.published, 0);
}

TEST_F(EmailApiTest, TellsWhatBecameOfAMail) {
  const HttpResponse answer = Handle("", "GET", "/v1/emails/order:17", {});
  EXPECT_EQ(answer.status, 200) << answer.body;
  EXPECT_EQ(answer.content_type, "application/json");
  EXPECT_TRUE(answer.body.starts_with(R"({"id":"order:17","status":"pending","last_event":"queued")")) << answer.body;
  EXPECT_EQ(Handle("", "GET", "/v1/emails/order%3A17", {}).status, 200);
  EXPECT_EQ(history_.asked, "order:17");
}

TEST_F(EmailApiTest, WhatIsNotKnownOrCannotBeToldNow) {
  for (const std::string path :
       {"/v1/emails/", "/v1/emails/a/b", "/v1/emails/a%20b", "/v1/emails/%", "/v1/emails/%zz"}) {
    EXPECT_EQ(Handle("", "GET", path, {}).status, 404) << path;
  }
  EXPECT_EQ(history_.asked, "");
  history_.answer = Status::NotFound("none");
  EXPECT_EQ(Handle("", "GET", "/v1/emails/x", {}).status, 404);
  history_.answer = Status::Unavailable("still reading");
  const HttpResponse answer = Handle("", "GET", "/v1/emails/x", {});
  EXPECT_EQ(answer.status, 503);
  EXPECT_EQ(HeaderOf(answer, "Retry-After"), "1");
  EXPECT_EQ(HeaderOf(Handle("", "DELETE", "/v1/emails/x", {}), "Allow"), "GET");
}

TEST_F(EmailApiTest, TakesAMailBack) {
  for (int i = 0; i < 2; ++i) {  // again: the same
    const HttpResponse answer = Handle("", "POST", "/v1/emails/order%3A17/cancel", {});
    EXPECT_EQ(answer.status, 202) << answer.body;
    EXPECT_EQ(answer.body, "{\"id\":\"order:17\",\"status\":\"cancel_requested\"}\n");
    EXPECT_EQ(HeaderOf(answer, "Location"), "/v1/emails/order:17");
  }
  EXPECT_EQ(queue_.cancelled, (std::vector<std::string>{"order:17", "order:17"}));
  EXPECT_EQ(queue_.published, 0);
  EXPECT_NE(metrics_.Serialize().find(R"(postbus_http_requests_total{route="/v1/emails/{id}/cancel",status="202"} 2)"),
            std::string::npos);
}

TEST_F(EmailApiTest, WhatIsKnownToBeOverIsNotTakenBack) {
  history_.change = Change::kSent;
  const HttpResponse answer = Handle("", "POST", "/v1/emails/x/cancel", {});
  EXPECT_EQ(answer.status, 409);
  EXPECT_EQ(answer.content_type, "application/problem+json");
  EXPECT_NE(answer.body.find(R"("title":"Conflict","status":409,"code":"email_is_over")"), std::string::npos)
      << answer.body;
  EXPECT_NE(answer.body.find("sent"), std::string::npos) << answer.body;
  for (const Change change : {Change::kDeadLettered, Change::kExpired}) {
    history_.change = change;
    EXPECT_EQ(Handle("", "POST", "/v1/emails/x/cancel", {}).status, 409);
  }
  EXPECT_TRUE(queue_.cancelled.empty());
  history_.change = Change::kCancelled;
  EXPECT_EQ(Handle("", "POST", "/v1/emails/x/cancel", {}).status, 202) << "again";
}

TEST_F(EmailApiTest, WhatTheQueueSaysOfACancellation) {
  const auto cancel = [this] { return Handle("", "POST", "/v1/emails/x/cancel", {}); };
  // What is not known here, or cannot be told now, is for the queue to know.
  history_.answer = Status::NotFound("none");
  EXPECT_EQ(cancel().status, 202);
  history_.answer = Status::Unavailable("still reading");
  EXPECT_EQ(cancel().status, 202);
  queue_.answer = Status::NotFound("none");
  EXPECT_NE(cancel().body.find(R"("status":404,"code":"no_such_email")"), std::string::npos) << cancel().body;
  queue_.answer = Status::Conflict("the last that happened to it: sent");
  EXPECT_NE(cancel().body.find(R"("status":409,"code":"email_is_over","detail":"the last that happened to it: sent")"),
            std::string::npos)
      << cancel().body;
  queue_.answer = Status::Uncertain("no answer");
  EXPECT_NE(cancel().body.find(R"("status":503,"code":"uncertain")"), std::string::npos) << cancel().body;
  queue_.answer = Status::Unavailable("the disk is full");
  EXPECT_NE(cancel().body.find("nothing was cancelled: the disk is full"), std::string::npos) << cancel().body;
  queue_.answer = {};
  queue_.refuse = true;
  const HttpResponse refused = cancel();
  EXPECT_EQ(refused.status, 503);
  EXPECT_EQ(HeaderOf(refused, "Retry-After"), "1");
}

TEST_F(EmailApiTest, WhatIsNoCancellation) {
  for (const std::string path : {"/v1/emails//cancel", "/v1/emails/a/b/cancel", "/v1/emails/a%20b/cancel",
                                 "/v1/emails/a/cancel/", "/v1/emails/a/cancels", "/v1/emails/a/xcancel"}) {
    EXPECT_EQ(Handle("", "POST", path, {}).status, 404) << path;
  }
  EXPECT_EQ(HeaderOf(Handle("", "GET", "/v1/emails/a/cancel", {}), "Allow"), "POST");
  EXPECT_EQ(HeaderOf(Handle("", "POST", "/v1/emails/cancel", {}), "Allow"), "GET") << "a mail of this id";
  EXPECT_TRUE(queue_.cancelled.empty());
}

TEST_F(EmailApiTest, TheHistoryKnowsWhatWasAccepted) {
  Handle(R"({"to":["a@b.org","c@d.org"],"template":"password-reset","data":{"Link":"x"}})");
  ASSERT_EQ(history_.noted.size(), 1u);
  EXPECT_EQ(history_.noted[0].id, queue_.last_id);
  EXPECT_EQ(history_.noted[0].change, Change::kQueued);
  EXPECT_EQ(history_.noted[0].recipients, RecipientSet::All(2));
  EXPECT_EQ(history_.noted[0].recipient_hashes.size(), 2u);
  EXPECT_EQ(history_.noted[0].recipient_hashes, queue_.last_recipient_hashes);
  EXPECT_EQ(history_.noted[0].at_unix_ms, queue_.last_accepted_at);
  history_.noted.clear();
  queue_.answer = Status::Uncertain("no answer");
  Handle(std::string(kMail));
  EXPECT_TRUE(history_.noted.empty());
}

TEST_F(EmailApiTest, TakesAMailAsItIs) {
  const HttpResponse answer =
      Handle(R"({"to":"a@b.org","cc":["c@d.org"],"bcc":"e@f.org","subject":"Hello","html":"<p>Hello</p>"})");
  EXPECT_EQ(answer.status, 202) << answer.body;
  EXPECT_EQ(queue_.last_recipients, RecipientSet::All(3));
}

TEST_F(EmailApiTest, CountsRequests) {
  Handle(std::string(kMail));
  Handle("", "GET", "/secret/path");
  const std::string text = metrics_.Serialize();
  EXPECT_NE(text.find(R"(postbus_http_requests_total{route="/v1/emails",status="202"} 1)"), std::string::npos);
  EXPECT_NE(text.find(R"(postbus_http_requests_total{route="other",status="404"} 1)"), std::string::npos);
}

TEST_F(EmailApiTest, WorksThroughTheServer) {
  EmailApi api(config_, ShippedTemplates(), queue_, history_, metrics_);
  auto server = HttpServer::Start(
      "127.0.0.1", 0, EmailApi::Limits(config_),
      [&](HttpRequest&& request, HttpReply reply) { api.Handle(std::move(request), std::move(reply)); },
      HttpErrorProblem);
  ASSERT_TRUE(server.ok());
  HttpClient client((*server)->port());
  const std::string answer = client.Post("/v1/emails", kMail);
  EXPECT_EQ(StatusOf(answer), 202) << answer;
  EXPECT_NE(answer.find("Location: /v1/emails/"), std::string::npos);
}

TEST(CheckApiAddress, RefusesWhatOtherMachinesReach) {
  Config config;
  config.api.mark = {.file = "postbus.yaml", .line = 3, .column = 16};
  EXPECT_TRUE(CheckApiAddress(config).ok());
  config.api.address = "0.0.0.0";
  const Status status = CheckApiAddress(config);
  ASSERT_FALSE(status.ok());
  EXPECT_TRUE(status.message().starts_with("postbus.yaml:3:16: api.listen: \"0.0.0.0\"")) << status.message();
}

}  // namespace
}  // namespace postbus
