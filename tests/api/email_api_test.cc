#include "api/email_api.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "api/problem.h"
#include "event/clock.h"
#include "tests/api/http_client.h"
#include "tests/host/fake_queue.h"

namespace postbus {
namespace {

// A queue that says what the test wants it to say.
class SayingQueue final : public Queue {
 public:
  Status Publish(const NewEvent& event, std::function<void(const Status&)> done) override {
    last_id = event.id;
    last_value = event.value;
    last_priority = event.priority;
    last_accepted_at = event.accepted_at_unix_ms;
    ++published;
    if (refuse) return Status::Unavailable("the local queue is full");
    if (hold) {
      held = std::move(done);
    } else if (uncertain) {
      done(Status::Uncertain("no answer"));
    } else {
      done({});
    }
    return {};
  }
  Status StartConsuming(const std::vector<int>&) override { return {}; }
  ShardQueue& shard(size_t) override { return unused_; }
  void StopConsuming() override {}
  bool Stop(int64_t) override { return true; }
  Status Health() const override { return {}; }
  QueueStats Stats() const override { return {}; }
  std::string Description() const override { return {}; }

  bool refuse = false;
  bool uncertain = false;
  bool hold = false;
  std::function<void(const Status&)> held;
  int published = 0;
  std::string last_id;
  std::string last_value;
  Priority last_priority = Priority::kNormal;
  int64_t last_accepted_at = 0;

 private:
  FakeQueue unused_;
};

class EmailApiTest : public testing::Test {
 protected:
  EmailApiTest() { config_.defaults_from = "Usual Store <noreply@usualstore.com>"; }

  // Handles one request at once, without a socket.
  HttpResponse Handle(std::string body, std::string method = "POST", std::string path = "/v1/emails",
                      std::vector<std::pair<std::string, std::string>> headers = {
                          {"content-type", "application/json; charset=utf-8"}}) {
    if (!api_) api_ = std::make_unique<EmailApi>(config_, queue_, metrics_);
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
  const HttpResponse answer =
      Handle(R"({"type":"welcome","message":{"id":"my-1","from":"a@b.org","to":["c@d.org"],"template":"welcome",)"
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
  EXPECT_EQ(
      Handle(std::string(kMail), "POST", "/v1/emails", {{"Content-Type", "application/json"}, {"Idempotency-Key", "k"}})
          .status,
      400);
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
  queue_.uncertain = true;
  answer = Handle(std::string(kMail));
  EXPECT_EQ(answer.status, 503);
  EXPECT_NE(answer.body.find(queue_.last_id), std::string::npos) << "the id, to repeat with";
}

TEST_F(EmailApiTest, CountsRequests) {
  Handle(std::string(kMail));
  Handle("", "GET", "/secret/path");
  const std::string text = metrics_.Serialize();
  EXPECT_NE(text.find(R"(postbus_http_requests_total{route="/v1/emails",status="202"} 1)"), std::string::npos);
  EXPECT_NE(text.find(R"(postbus_http_requests_total{route="other",status="404"} 1)"), std::string::npos);
}

TEST_F(EmailApiTest, WorksThroughTheServer) {
  EmailApi api(config_, queue_, metrics_);
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
