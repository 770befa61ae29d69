#include <gtest/gtest.h>

#include "postbus/testing/fake_host.hpp"
#include "sdk/template/transport.cc"

namespace {

using postbus::sdk::testing::FakeMail;
using postbus::sdk::testing::FakeOptions;

class AcmeTest : public testing::Test {
 protected:
  int32_t Verdict(uint16_t status, std::vector<std::pair<std::string, std::string>> headers = {}) {
    return acme_.Verdict(mail_.view(), {.status = status, .headers = std::move(headers), .body = ""}).outcome;
  }

  postbus::sdk::testing::FakeHost host_;
  FakeOptions options_{kOptions,
                       {{"token", "s3cret"}, {"max_requests", 4}, {"timeout", 60'000}, {"connect_timeout", 10'000}}};
  Acme acme_{host_.host(), options_.options()};
  FakeMail mail_{1};
};

TEST_F(AcmeTest, Request) {
  mail_.recipients = {"ada@example.org", "bob@example.org"};
  postbus::sdk::HttpRequest request;
  EXPECT_EQ(acme_.Build(mail_.view(), request), std::nullopt);
  EXPECT_EQ(request.body, mail_.raw);
  EXPECT_EQ(request.headers.back(), "X-Acme-To: bob@example.org");
}

TEST_F(AcmeTest, Verdicts) {
  EXPECT_EQ(Verdict(202, {{"X-Acme-Id", "7"}}), POSTBUS_ACCEPTED);
  EXPECT_EQ(Verdict(202), POSTBUS_IN_DOUBT);
  EXPECT_EQ(Verdict(401), POSTBUS_PROVIDER_FAULT);
  EXPECT_EQ(Verdict(422), POSTBUS_REJECTED_MESSAGE);
  EXPECT_EQ(Verdict(422, {{"X-Acme-Error", "no-such-mailbox"}}), POSTBUS_REJECTED_RECIPIENT);
}

}  // namespace
