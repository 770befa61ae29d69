#include <gtest/gtest.h>

#include <chrono>
#include <ctime>

#include "postbus/http_transport.hpp"

namespace postbus::sdk {
namespace {

HttpResponse Response(uint16_t status, std::string retry_after = "") {
  HttpResponse response;
  response.status = status;
  if (!retry_after.empty()) response.headers = {{"retry-AFTER", std::move(retry_after)}};
  return response;
}

std::string HttpDate(std::time_t at) {
  std::tm utc{};
  gmtime_r(&at, &utc);
  char text[64];
  std::strftime(text, sizeof text, "%a, %d %b %Y %H:%M:%S GMT", &utc);
  return text;
}

TEST(VerdictFromHttpTest, EveryStatus) {
  const auto expected = [](int status) -> int32_t {
    if (status < 200) return POSTBUS_IN_DOUBT;
    if (status < 300) return POSTBUS_ACCEPTED;
    if (status < 400) return POSTBUS_PROVIDER_FAULT;
    switch (status) {
      case 408:
      case 425:
        return POSTBUS_TRANSIENT;
      case 429:
        return POSTBUS_THROTTLED;
      case 401:
      case 402:
      case 403:
      case 404:
      case 405:
      case 406:
      case 407:
      case 410:
      case 415:
      case 451:
        return POSTBUS_PROVIDER_FAULT;
      case 502:
      case 504:
      case 520:
      case 524:
        return POSTBUS_IN_DOUBT;
      default:
        return status < 500 ? POSTBUS_REJECTED_MESSAGE : POSTBUS_PROVIDER_FAULT;
    }
  };
  for (uint16_t status = 0; status < 600; ++status) {
    const Outcome outcome = VerdictFromHttp(Response(status), "id-1", "words");
    EXPECT_EQ(outcome.outcome, expected(status)) << status;
    EXPECT_EQ(outcome.code, status);
    EXPECT_EQ(outcome.phase, POSTBUS_PHASE_REQUEST);
    EXPECT_FALSE(outcome.text.empty()) << status;
    EXPECT_EQ(outcome.provider_id, outcome.outcome == POSTBUS_ACCEPTED ? "id-1" : "") << status;
  }
}

TEST(VerdictFromHttpTest, SuccessWithoutAnIdIsInDoubt) {
  const Outcome outcome = VerdictFromHttp(Response(200), "");
  EXPECT_EQ(outcome.outcome, POSTBUS_IN_DOUBT);
  EXPECT_NE(outcome.text.find("check base_url"), std::string::npos);
}

TEST(VerdictFromHttpTest, WordsOfTheProviderOrOurs) {
  EXPECT_EQ(VerdictFromHttp(Response(401), "", "Unauthorized").text, "Unauthorized");
  EXPECT_EQ(VerdictFromHttp(Response(401), "").text, "the provider refused the credentials");
}

TEST(VerdictFromHttpTest, RetryAfter) {
  EXPECT_EQ(VerdictFromHttp(Response(429, "7"), "").retry_after_ms, 7000u);
  EXPECT_EQ(VerdictFromHttp(Response(503, "7"), "").retry_after_ms, 7000u);
  EXPECT_EQ(VerdictFromHttp(Response(429), "").retry_after_ms, 0u);
  EXPECT_EQ(VerdictFromHttp(Response(429), "", "", 9000).retry_after_ms, 9000u);
  EXPECT_EQ(VerdictFromHttp(Response(429, "7"), "", "", 9000).retry_after_ms, 7000u);
}

TEST(ResetTest, UnixSeconds) {
  const auto reset = [](const std::string& value) {
    return ResetMs({.status = 429, .headers = {{"x-ratelimit-reset", value}}, .body = ""}, "X-RateLimit-Reset");
  };
  const std::time_t now = std::time(nullptr);
  EXPECT_GT(reset(std::to_string(now + 60)), 50'000u);
  EXPECT_LE(reset(std::to_string(now + 60)), 60'000u);
  EXPECT_EQ(reset(std::to_string(now + 90 * 86400)), 3'600'000u);
  for (const std::string& other : {std::to_string(now - 60), std::string("soon"), std::string()}) {
    EXPECT_EQ(reset(other), 0u) << other;
  }
}

TEST(RetryAfterTest, SecondsAndDates) {
  EXPECT_EQ(RetryAfterMs(Response(429, "0")), 0u);
  EXPECT_EQ(RetryAfterMs(Response(429, "120")), 120'000u);
  EXPECT_EQ(RetryAfterMs(Response(429, "86401")), 86'400'000u);
  EXPECT_EQ(RetryAfterMs(Response(429, "99999999999999999999999")), 86'400'000u);
  for (const char* nonsense : {"soon", "-3", "12 apples", "1.5", "Mon, 99 Foo 2026"}) {
    EXPECT_EQ(RetryAfterMs(Response(429, nonsense)), 0u) << nonsense;
  }
  const std::time_t now = std::time(nullptr);
  const uint64_t in_an_hour = RetryAfterMs(Response(429, HttpDate(now + 3600)));
  EXPECT_GT(in_an_hour, 3'500'000u);
  EXPECT_LE(in_an_hour, 3'600'000u);
  EXPECT_EQ(RetryAfterMs(Response(429, HttpDate(now - 3600))), 0u);
  EXPECT_EQ(RetryAfterMs(Response(429, HttpDate(now + 30 * 86400))), 86'400'000u);
}

TEST(Base64Test, AsInRfc4648) {
  const auto base64 = [](std::string_view bytes) {
    std::string out = "x";
    AppendBase64(bytes, out);
    return out.substr(1);
  };
  EXPECT_EQ(base64(""), "");
  EXPECT_EQ(base64("f"), "Zg==");
  EXPECT_EQ(base64("fo"), "Zm8=");
  EXPECT_EQ(base64("foo"), "Zm9v");
  EXPECT_EQ(base64("foobar"), "Zm9vYmFy");
  EXPECT_EQ(base64(std::string_view("\0\xff\xfe", 3)), "AP/+");
  const std::string large(10'000'000, 'a');  // in several pieces
  const std::string text = base64(large);
  EXPECT_EQ(text.size(), (large.size() + 2) / 3 * 4);
  EXPECT_EQ(text.find('='), text.size() - 2);
}

}  // namespace
}  // namespace postbus::sdk
