#include "plugins/ses/transport.h"

#include "tests/support/http/provider_test.h"

namespace postbus::ses {
namespace {

using namespace postbus::testing;

constexpr std::time_t kTime = 1767323045;  // 2026-01-02 03:04:05 UTC

// What botocore 1.29 makes of the same requests.
TEST(SignatureTest, AsAwsOwnLibrary) {
  Credentials credentials{"AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", ""};
  const auto sign = [&] {
    return SignedHeaders(credentials, "eu-central-1", "email.eu-central-1.amazonaws.com", "/v2/email/outbound-emails",
                         "{\"x\":\"\xC3\xBC\"}", kTime);
  };
  EXPECT_EQ(sign(),
            (std::vector<std::string>{
                "content-type: application/json", "x-amz-date: 20260102T030405Z",
                "authorization: AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20260102/eu-central-1/ses/aws4_request, "
                "SignedHeaders=content-type;host;x-amz-date, "
                "Signature=85a95d0733cb453c3c38bf32c51e3ebbc4b0d0203df409cc023519c67a8d210a"}));
  credentials.session_token = "planted/token==";
  EXPECT_EQ(sign()[2], "x-amz-security-token: planted/token==");
  EXPECT_EQ(sign()[3],
            "authorization: AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20260102/eu-central-1/ses/aws4_request, "
            "SignedHeaders=content-type;host;x-amz-date;x-amz-security-token, "
            "Signature=5262684fc237506c3846e2c2f10986bf77b9326e118e477eef207505ad9063b1");
}

class SesTest : public ProviderTest<Transport> {
 protected:
  std::unique_ptr<Transport> Make(const std::string& region = "eu-central-1", const std::string& set = "") const {
    return ProviderTest::Make(
        kOptions,
        {{"region", region}, {"access_key_id", "AKID"}, {"secret_access_key", "secret"}, {"configuration_set", set}});
  }
};

TEST_F(SesTest, Request) {
  mail_.recipients = {"a@example.org", "b@example.org"};
  mail_.raw = "From: x\r\n\r\nhi\r\n";
  sdk::HttpRequest request;
  EXPECT_EQ(Make("eu-central-1", "news")->Build(mail_.view(), request), std::nullopt);
  EXPECT_EQ(request.body, R"({"Destination":{"ToAddresses":["a@example.org","b@example.org"]},)"
                          R"("Content":{"Raw":{"Data":"RnJvbTogeA0KDQpoaQ0K"}},"ConfigurationSetName":"news"})");
  Make()->Build(mail_.view(), request);
  EXPECT_FALSE(Json(request).HasMember("ConfigurationSetName"));
  EXPECT_EQ(Make()->authority(), "email.eu-central-1.amazonaws.com");
}

TEST_F(SesTest, WhatSesDoesNotTake) {
  sdk::HttpRequest request;
  postbus_mail view = mail_.view();
  view.flags |= POSTBUS_MAIL_SMTPUTF8;
  EXPECT_EQ(Text(Make()->Build(view, request).value()), "UNSUPPORTED SES takes ASCII addresses only");
  mail_.recipients.assign(51, "a@example.org");
  EXPECT_EQ(Text(Make()->Build(mail_.view(), request).value()), "UNSUPPORTED SES takes 50 recipients at most");
}

TEST_F(SesTest, Regions) {
  for (const char* region : {"", "eu central", "x/../y", "evil.example#", "EU-CENTRAL-1"}) {
    EXPECT_THROW(Make(region), std::runtime_error) << region;
  }
}

TEST_F(SesTest, Verdicts) {
  const auto transport = Make();
  const auto verdict = [&](uint16_t status, const std::string& type, const std::string& message = "m") {
    const ResponseHeaders headers = {{"x-amzn-ErrorType", type + ":http://internal.amazon.com/"}};
    const std::string in_header =
        Text(transport->Verdict(mail_.view(), Response(status, R"({"message":")" + message + R"("})", headers)));
    const std::string in_body =
        Text(transport->Verdict(mail_.view(), Response(status, R"({"__type":"com.amazonaws.ses#)" + type +
                                                                   R"(","Message":")" + message + R"("})")));
    EXPECT_EQ(in_header, in_body);
    return in_header;
  };
  EXPECT_EQ(Text(transport->Verdict(mail_.view(), Response(200, R"({"MessageId":"0100"})"))), "ACCEPTED id=0100");
  EXPECT_TRUE(Text(transport->Verdict(mail_.view(), Response(200, "<html>"))).starts_with("IN_DOUBT "));

  EXPECT_EQ(verdict(429, "TooManyRequestsException"), "THROTTLED 1000 TooManyRequestsException: m");
  EXPECT_EQ(verdict(400, "ThrottlingException", "Maximum sending rate exceeded."),
            "THROTTLED 1000 ThrottlingException: Maximum sending rate exceeded.");
  for (const char* type : {"ThrottlingException", "TooManyRequestsException", "LimitExceededException"}) {
    EXPECT_EQ(
        verdict(type == std::string("TooManyRequestsException") ? 429 : 400, type, "Daily message quota exceeded."),
        "PROVIDER_FAULT 600000 " + std::string(type) + ": Daily message quota exceeded.");
  }
  for (const char* type : {"AccountSuspendedException", "SendingPausedException", "MailFromDomainNotVerifiedException",
                           "LimitExceededException"}) {
    EXPECT_EQ(verdict(400, type), "PROVIDER_FAULT " + std::string(type) + ": m");
  }
  EXPECT_EQ(verdict(404, "NotFoundException"), "PROVIDER_FAULT NotFoundException: m");
  for (const char* type :
       {"AccessDeniedException", "ExpiredTokenException", "IncompleteSignatureException", "InvalidClientTokenId",
        "InvalidSignatureException", "MissingAuthenticationTokenException", "RequestExpired", "SignatureDoesNotMatch",
        "UnrecognizedClientException", "OptInRequired", "NotAuthorized"}) {
    EXPECT_EQ(verdict(400, type), "PROVIDER_FAULT " + std::string(type) + ": m");
    EXPECT_EQ(verdict(403, type), "PROVIDER_FAULT " + std::string(type) + ": m");
  }
  EXPECT_EQ(verdict(409, "ConflictException"), "TRANSIENT ConflictException: m");
  EXPECT_EQ(verdict(400, "MessageRejected"), "REJECTED MessageRejected: m");
  EXPECT_EQ(verdict(400, "BadRequestException"), "REJECTED BadRequestException: m");
  EXPECT_EQ(verdict(500, "InternalFailure"), "PROVIDER_FAULT InternalFailure: m");
  EXPECT_EQ(verdict(503, "ServiceUnavailable"), "PROVIDER_FAULT ServiceUnavailable: m");
  EXPECT_EQ(verdict(504, "GatewayTimeout"), "IN_DOUBT GatewayTimeout: m");
}

}  // namespace
}  // namespace postbus::ses
