#include "admin/admin_server.h"

#include <gtest/gtest.h>

#include <thread>

#include "tests/api/http_client.h"

namespace postbus {
namespace {

TEST(AdminServer, ServesMetricsAndHealth) {
  Config config;
  config.admin.port = 0;
  Metrics metrics;
  metrics.CountConsumed(Priority::kHigh);
  bool is_ready = true;
  HttpResponse reloaded;
  reloaded.status = 409;
  reloaded.body = "restart";
  std::string drained;
  auto server =
      StartAdminServer(config, metrics,
                       {.ready = [&] { return is_ready ? Status() : Status::Unavailable("no broker"); },
                        .reload = [&](const HttpReply& reply) { std::thread([=] { reply(reloaded); }).detach(); },
                        .drain = [&](bool leave) { drained += leave ? "for good;" : "once;"; }});
  ASSERT_TRUE(server.ok()) << server.status().message();
  HttpClient client((*server)->port());
  std::string answer = client.Get("/metrics");
  EXPECT_EQ(StatusOf(answer), 200);
  EXPECT_NE(answer.find("text/plain; version=0.0.4"), std::string::npos);
  EXPECT_NE(answer.find("postbus_emails_consumed_total{priority=\"high\"} 1"), std::string::npos);
  EXPECT_EQ(StatusOf(client.Get("/livez")), 200);
  EXPECT_EQ(StatusOf(client.Get("/readyz")), 200);
  is_ready = false;
  answer = client.Get("/readyz");
  EXPECT_EQ(StatusOf(answer), 503);
  EXPECT_EQ(BodyOf(answer), "no broker\n");
  EXPECT_EQ(StatusOf(client.Get("/livez")), 200) << "liveness does not depend on the broker";
  EXPECT_EQ(StatusOf(client.Get("/secret")), 404);
  EXPECT_EQ(StatusOf(client.Get("/metrics", "DELETE")), 405);
  EXPECT_EQ(StatusOf(client.Get("/-/reload")), 405) << "a link must not reload";
  answer = client.Get("/-/reload", "POST");
  EXPECT_EQ(StatusOf(answer), 409);
  EXPECT_EQ(BodyOf(answer), "restart");

  EXPECT_EQ(StatusOf(client.Get("/-/drain")), 405) << "a link must not end it, either";
  EXPECT_EQ(StatusOf(client.Post("/-/drain", "{}", "text/plain")), 415) << "nor a form";
  for (const char* body : {"", "[]", R"({"leave":1})", R"({"leaf":true})", R"({"leave":true,"now":true})"}) {
    EXPECT_EQ(StatusOf(client.Post("/-/drain", body)), 400) << body;
  }
  EXPECT_EQ(drained, "");
  EXPECT_EQ(StatusOf(client.Post("/-/drain", "{}")), 202);
  EXPECT_EQ(StatusOf(client.Post("/-/drain", R"({"leave":true})")), 202);
  EXPECT_EQ(StatusOf(client.Post("/-/drain", R"({"leave":false})")), 202);
  EXPECT_EQ(drained, "once;for good;once;");
}

}  // namespace
}  // namespace postbus
