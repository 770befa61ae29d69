#include "api/http_server.h"

#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <thread>
#include <vector>

#include "api/problem.h"
#include "event/clock.h"
#include "tests/api/http_client.h"

namespace postbus {
namespace {

HttpResponse Echo(const HttpRequest& request) {
  HttpResponse response;
  response.body = request.method + " " + request.path + "?" + request.query + " " +
                  std::string(request.header("x-test")) + " " + request.body;
  return response;
}

std::unique_ptr<HttpServer> StartEcho(const HttpLimits& limits = {}) {
  auto server = HttpServer::Start(
      "127.0.0.1", 0, limits, [](HttpRequest&& request, const HttpReply& reply) { reply(Echo(request)); },
      HttpErrorProblem);
  EXPECT_TRUE(server.ok()) << server.status().message();
  return std::move(*server);
}

TEST(HttpServer, AnswersAndKeepsTheConnection) {
  const auto server = StartEcho();
  HttpClient client(server->port());
  for (int i = 0; i < 3; ++i) {
    const std::string answer = client.Post("/a/b?c=d", "body" + std::to_string(i), "text/plain", "X-Test: t\r\n");
    EXPECT_EQ(StatusOf(answer), 200);
    EXPECT_EQ(BodyOf(answer), "POST /a/b?c=d t body" + std::to_string(i));
  }
}

TEST(HttpServer, AnswersPipelinedRequestsInOrder) {
  const auto server = StartEcho();
  HttpClient client(server->port());
  client.Send("GET /1 HTTP/1.1\r\nHost: x\r\n\r\nGET /2 HTTP/1.1\r\nHost: x\r\n\r\n");
  EXPECT_EQ(BodyOf(client.Receive()), "GET /1?  ");
  EXPECT_EQ(BodyOf(client.Receive()), "GET /2?  ");
}

TEST(HttpServer, TakesARequestInAnyPieces) {
  const auto server = StartEcho();
  HttpClient client(server->port());
  const std::string request = "POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody";
  for (const char c : request) client.Send(std::string(1, c));
  EXPECT_EQ(BodyOf(client.Receive()), "POST /x?  body");
}

TEST(HttpServer, AnswersFromAnotherThreadAndMuchLater) {
  std::promise<HttpReply> promise;
  auto server = HttpServer::Start(
      "127.0.0.1", 0, {}, [&](HttpRequest&&, HttpReply reply) { promise.set_value(std::move(reply)); },
      HttpErrorProblem);
  ASSERT_TRUE(server.ok());
  HttpClient client((*server)->port());
  client.Send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
  HttpReply reply = promise.get_future().get();
  std::thread([reply = std::move(reply)] {
    reply({.status = 202, .content_type = "text/plain", .body = "late", .headers = {}});
    reply({.status = 500, .content_type = "text/plain", .body = "twice", .headers = {}});  // ignored
  }).join();
  const std::string answer = client.Receive();
  EXPECT_EQ(StatusOf(answer), 202);
  EXPECT_EQ(BodyOf(answer), "late");
}

TEST(HttpServer, RefusesWhatIsTooLargeOrNoHttpAndLives) {
  HttpLimits limits;
  limits.header_bytes = 1024;
  limits.body_bytes = 100;
  const auto server = StartEcho(limits);
  const auto answer_to = [&](std::string_view bytes) {
    HttpClient client(server->port());
    client.Send(bytes);
    const std::string answer = client.Receive();
    EXPECT_NE(answer.find("application/problem+json"), std::string::npos) << answer;
    EXPECT_TRUE(client.Closed());
    return StatusOf(answer);
  };
  EXPECT_EQ(answer_to("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 101\r\n\r\n"), 413);
  EXPECT_EQ(answer_to("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 101\r\n\r\n" + std::string(101, 'x')), 413);
  EXPECT_EQ(answer_to("GET / HTTP/1.1\r\nX: " + std::string(2000, 'x') + "\r\n\r\n"), 431);
  EXPECT_EQ(answer_to("\x16\x03\x01 hello\r\n\r\n"), 400);
  EXPECT_EQ(answer_to("POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n"), 400);
  HttpClient client(server->port());
  EXPECT_EQ(StatusOf(client.Get("/")), 200);
}

TEST(HttpServer, AHalfRequestEndsWithItsTime) {
  HttpLimits limits;
  limits.header_seconds = 1;
  limits.body_seconds = 1;
  const auto server = StartEcho(limits);
  HttpClient slow_header(server->port());
  HttpClient slow_body(server->port());
  slow_header.Send("GET / HT");
  slow_body.Send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nab");
  EXPECT_EQ(StatusOf(slow_header.Receive()), 408);
  EXPECT_EQ(StatusOf(slow_body.Receive()), 408);
  EXPECT_TRUE(slow_header.Closed());
  EXPECT_TRUE(slow_body.Closed());
}

TEST(HttpServer, ASenderOfSingleBytesGetsNoMoreTime) {
  HttpLimits limits;
  limits.body_seconds = 1;
  const auto server = StartEcho(limits);
  HttpClient client(server->port());
  client.Send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n");
  std::atomic<bool> done{false};
  std::thread sender([&] {
    while (!done) {
      client.Send("x");
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
  });
  EXPECT_EQ(StatusOf(client.Receive()), 408);
  done = true;
  sender.join();
}

TEST(HttpServer, AnIdleConnectionIsClosedWithoutAWord) {
  HttpLimits limits;
  limits.idle_seconds = 1;
  const auto server = StartEcho(limits);
  HttpClient client(server->port());
  EXPECT_EQ(StatusOf(client.Get("/")), 200);
  EXPECT_EQ(client.Receive(), "");
  EXPECT_TRUE(client.Closed());
}

TEST(HttpServer, HoldsOnlySoManyBytesOfAllBodies) {
  HttpLimits limits;
  limits.all_bodies_bytes = 10'000;
  const auto server = StartEcho(limits);
  HttpClient first(server->port());
  first.Send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 6000\r\n\r\n" + std::string(5'999, 'x'));
  const auto post = [&] {
    HttpClient client(server->port());
    return StatusOf(client.Post("/", std::string(6'000, 'x')));
  };
  EXPECT_EQ(StatusOf(HttpClient(server->port()).Get("/")), 200);  // by now it has read what the first one sent
  EXPECT_EQ(post(), 503);
  first.Send("x");
  EXPECT_EQ(StatusOf(first.Receive()), 200);
  EXPECT_EQ(post(), 200) << "what was held is free again";
  EXPECT_EQ(post(), 200);
}

TEST(HttpServer, RefusesConnectionsBeyondItsLimit) {
  HttpLimits limits;
  limits.connections = 2;
  const auto server = StartEcho(limits);
  HttpClient one(server->port());
  HttpClient two(server->port());
  EXPECT_EQ(StatusOf(one.Get("/")), 200);
  EXPECT_EQ(StatusOf(two.Get("/")), 200);
  HttpClient three(server->port());
  EXPECT_EQ(StatusOf(three.Receive()), 503);
}

TEST(HttpServer, Says100ContinueWhereAsked) {
  const auto server = StartEcho();
  HttpClient client(server->port());
  client.Send("POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");
  EXPECT_EQ(StatusOf(client.Receive()), 100);
  client.Send("hi");
  EXPECT_EQ(BodyOf(client.Receive()), "POST /?  hi");
}

TEST(HttpServer, StopLetsAnAnswerUnderWayOut) {
  std::promise<HttpReply> promise;
  auto server = HttpServer::Start(
      "127.0.0.1", 0, {}, [&](HttpRequest&&, HttpReply reply) { promise.set_value(std::move(reply)); },
      HttpErrorProblem);
  ASSERT_TRUE(server.ok());
  HttpClient client((*server)->port());
  client.Send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
  HttpReply reply = promise.get_future().get();
  std::thread stopper([&] { (*server)->Stop(BootTimeMs() + 10'000); });
  reply({.status = 202, .content_type = "text/plain", .body = "last", .headers = {}});
  reply = nullptr;  // while it lives the server waits for its answer
  EXPECT_EQ(BodyOf(client.Receive()), "last");
  EXPECT_TRUE(client.Closed());
  stopper.join();
  EXPECT_FALSE(HttpClient((*server)->port()).connected());
}

// Clients that send the next request with each answer: whatever the stop meets is answered, or it was never taken.
TEST(HttpServer, ARequestThatMeetsTheStopIsAnsweredOrNotTaken) {
  for (int round = 0; round < 60; ++round) {
    std::atomic<int> taken = 0;
    std::atomic<int> answered = 0;
    auto server = HttpServer::Start(
        "127.0.0.1", 0, {},
        [&](HttpRequest&& request, const HttpReply& reply) {
          ++taken;
          reply(Echo(request));
        },
        HttpErrorProblem);
    ASSERT_TRUE(server.ok());
    std::vector<std::thread> clients;
    for (int i = 0; i < 8; ++i) {
      clients.emplace_back([&] {
        HttpClient client((*server)->port());
        while (!client.Get("/").empty()) ++answered;
      });
    }
    while (answered < 100) std::this_thread::yield();
    (*server)->Stop(BootTimeMs() + 30'000);
    for (std::thread& client : clients) client.join();
    ASSERT_EQ(answered, taken) << "round " << round;
  }
}

TEST(HttpServer, ATakenPortIsAnErrorThatNamesIt) {
  const auto server = StartEcho();
  const auto second = HttpServer::Start("127.0.0.1", server->port(), {}, nullptr, nullptr);
  ASSERT_FALSE(second.ok());
  EXPECT_NE(second.status().message().find("127.0.0.1:" + std::to_string(server->port())), std::string_view::npos);
}

TEST(HttpServer, KnowsLoopback) {
  for (const auto* address : {"127.0.0.1", "127.8.0.1", "::1", "localhost"})
    EXPECT_TRUE(IsLoopback(address)) << address;
  for (const auto* address : {"0.0.0.0", "::", "10.0.0.1", "example.com", ""})
    EXPECT_FALSE(IsLoopback(address)) << address;
}

}  // namespace
}  // namespace postbus
