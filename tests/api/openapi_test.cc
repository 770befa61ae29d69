// openapi.json says what the routes do: every route and status in it can be had, and no other is to be had of a route.
#include <gtest/gtest.h>
#include <rapidjson/document.h>

#include <map>
#include <set>
#include <tuple>

#include "api/email_api.h"
#include "api/problem.h"
#include "tests/api/email_api_fakes.h"
#include "tests/api/http_client.h"

namespace postbus {
namespace {

// Method, path, status.
using Fact = std::tuple<std::string, std::string, int>;

std::set<Fact> Documented() {
  rapidjson::Document document;
  const std::string_view text = EmailApi::OpenApi();
  document.Parse(text.data(), text.size());
  std::set<Fact> facts;
  for (const auto& path : document["paths"].GetObject()) {
    for (const auto& operation : path.value.GetObject()) {
      std::string method = operation.name.GetString();
      for (char& c : method) c = static_cast<char>(toupper(c));
      for (const auto& response : operation.value["responses"].GetObject()) {
        facts.insert({method, path.name.GetString(), std::stoi(response.name.GetString())});
      }
    }
  }
  return facts;
}

class OpenApiTest : public testing::Test {
 protected:
  OpenApiTest() {
    limits_.header_bytes = 1024;
    limits_.body_bytes = 20'000;
    limits_.header_seconds = 1;
    Restart();
  }

  void Restart() {
    server_.reset();
    auto started = HttpServer::Start(
        "127.0.0.1", 0, limits_,
        [this](HttpRequest&& request, HttpReply reply) { api_.Handle(std::move(request), std::move(reply)); },
        HttpErrorProblem);
    ASSERT_TRUE(started.ok()) << started.status().message();
    server_ = std::move(*started);
  }

  std::string Ask(const std::string& method, const std::string& path, const std::string& headers,
                  const std::string& body) {
    HttpClient client(server_->port());
    client.Send(method + " " + path + " HTTP/1.1\r\nHost: x\r\n" + headers);
    if (method == "POST" && headers.find("Content-Length") == headers.npos)
      client.Send("Content-Length: " + std::to_string(body.size()) + "\r\n");
    client.Send("\r\n" + body);
    return client.Receive();
  }

  static std::string UrlOf(std::string path) {
    if (const size_t id = path.find("{id}"); id != path.npos) path.replace(id, 4, "id-1");
    return path;
  }

  static Config WithSender() {
    Config config;
    config.defaults_from = "noreply@usualstore.com";
    return config;
  }

  const Config config_ = WithSender();
  HttpLimits limits_;
  SayingQueue queue_;
  SayingHistory history_;
  Metrics metrics_;
  EmailApi api_{config_, ShippedTemplates(), queue_, history_, metrics_};
  std::unique_ptr<HttpServer> server_;
};

TEST_F(OpenApiTest, IsServed) {
  const std::string answer = Ask("GET", "/openapi.json", "", "");
  EXPECT_EQ(StatusOf(answer), 200);
  EXPECT_EQ(BodyOf(answer), EmailApi::OpenApi());
}

TEST_F(OpenApiTest, HasTheRoutesAndStatusesThereAre) {
  const std::string json = "Content-Type: application/json\r\n";
  const std::string mail = R"({"to":"ada@example.com","template":"password-reset","data":{"Link":"x"}})";
  std::set<Fact> seen;
  const auto note = [&](const std::string& method, const std::string& path, const std::string& answer) {
    const int status = StatusOf(answer);
    EXPECT_NE(status, 0) << method << " " << path;
    const bool problem = answer.find("Content-Type: application/problem+json") != answer.npos;
    EXPECT_EQ(problem, status >= 400) << answer;
    EXPECT_EQ(answer.find("\r\nRetry-After: ") != answer.npos, status == 503) << answer;
    seen.insert({method, path, status});
  };

  const std::map<std::string, std::string> routes = {{"/v1/emails", "POST"},
                                                     {"/v1/emails/batch", "POST"},
                                                     {"/v1/emails/{id}", "GET"},
                                                     {"/v1/emails/{id}/cancel", "POST"},
                                                     {"/openapi.json", "GET"}};
  std::map<std::string, std::unique_ptr<HttpClient>> slow;
  for (const auto& [path, method] : routes) {
    slow[path] = std::make_unique<HttpClient>(server_->port());
    slow[path]->Send(method + " " + UrlOf(path) + " HTTP/1.1\r\nHo");
    note(method, path, Ask(method, UrlOf(path), "Content-Length: many\r\n", ""));
    note(method, path, Ask(method, UrlOf(path), "Content-Length: 30000\r\n", ""));
    note(method, path, Ask(method, UrlOf(path), "X: " + std::string(2000, 'x') + "\r\n", ""));
  }
  const std::map<std::string, std::string> good = {{"/v1/emails", mail}, {"/v1/emails/batch", "[" + mail + "]"}};
  for (const auto& [path, body] : good) {
    note("POST", path, Ask("POST", path, json, body));
    note("POST", path, Ask("POST", path, json, "nonsense"));
    note("POST", path, Ask("POST", path, "", body));
    note("POST", path, Ask("POST", path, json, path == "/v1/emails" ? "{}" : "[]"));
    queue_.answer = Status::Unavailable("no");
    note("POST", path, Ask("POST", path, json, body));
    queue_.answer = Status::Conflict("known");
    note("POST", path, Ask("POST", path, json + "Idempotency-Key: k\r\n", body));
    queue_.answer = {};
  }
  note("GET", "/openapi.json", Ask("GET", "/openapi.json", "", ""));
  for (Status& answer : std::array<Status, 3>{Status(), Status::NotFound("x"), Status::Unavailable("x")}) {
    history_.answer = std::move(answer);
    note("GET", "/v1/emails/{id}", Ask("GET", "/v1/emails/id-1", "", ""));
  }
  for (Status& answer :
       std::array<Status, 4>{Status(), Status::NotFound("x"), Status::Conflict("x"), Status::Unavailable("x")}) {
    queue_.answer = std::move(answer);
    note("POST", "/v1/emails/{id}/cancel", Ask("POST", "/v1/emails/id-1/cancel", "", ""));
  }
  queue_.answer = {};
  for (const auto& [path, method] : routes) note(method, path, slow[path]->Receive());
  limits_.connections = 0;
  Restart();
  note("GET", "/openapi.json", Ask("GET", "/openapi.json", "", ""));

  EXPECT_EQ(seen, Documented());
}

TEST_F(OpenApiTest, OtherPathsAndMethodsAreNot) {
  for (const Fact& fact : Documented()) {
    const std::string path = UrlOf(std::get<1>(fact));
    const std::string answer = Ask("PUT", path, "", "");
    EXPECT_EQ(StatusOf(answer), 405) << path;
    EXPECT_NE(answer.find("\r\nAllow: " + std::get<0>(fact) + "\r\n"), answer.npos) << answer;
  }
  for (const std::string path :
       {"/", "/v1", "/v1/email", "/v1/emails/", "/v1/emails/a/b", "/v1/emails/a/b/cancel", "/openapi.yaml"}) {
    EXPECT_EQ(StatusOf(Ask("GET", path, "", "")), 404) << path;
  }
}

}  // namespace
}  // namespace postbus
