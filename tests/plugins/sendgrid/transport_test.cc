#include "plugins/sendgrid/transport.h"

#include <ctime>

#include "tests/support/http/provider_test.h"

namespace postbus::sendgrid {
namespace {

using namespace postbus::testing;

class SendGridTest : public ProviderTest<Transport> {
 protected:
  std::unique_ptr<Transport> Make(const std::string& region = "global", int64_t sandbox_mode = 0) const {
    return ProviderTest::Make(kOptions, {{"api_key", "k3y"}, {"region", region}, {"sandbox_mode", sandbox_mode}});
  }
};

TEST_F(SendGridTest, HostsAndSandbox) {
  sdk::HttpRequest request;
  Make()->Build(mail_.view(), request);
  EXPECT_EQ(request.path, "/v3/mail/send");
  EXPECT_EQ(request.headers[0], "Authorization: Bearer k3y");
  EXPECT_FALSE(Json(request).HasMember("mail_settings"));
  EXPECT_EQ(Make()->authority(), "api.sendgrid.com");
  EXPECT_EQ(Make("eu")->authority(), "api.eu.sendgrid.com");
  Make("eu", 1)->Build(mail_.view(), request);
  EXPECT_TRUE(Json(request)["mail_settings"]["sandbox_mode"]["enable"].GetBool()) << request.body;
}

TEST_F(SendGridTest, RecipientsThatMustNotSeeEachOtherGetAMailEach) {
  FullMail full;
  full.parts().n_to = 0;  // who is in `to` had the mail before, so the envelope has the others
  ++full.view().recipients;
  --full.view().n_recipients;
  sdk::HttpRequest request;
  Make()->Build(full.view(), request);
  const rapidjson::Document json = Json(request);
  ASSERT_EQ(json["personalizations"].Size(), 3u);
  EXPECT_STREQ(json["personalizations"][0]["to"][0]["email"].GetString(), "c@example.org");
  EXPECT_STREQ(json["personalizations"][2]["to"][0]["email"].GetString(), "y@example.org");
  const auto verdict = [&](const std::string& number) {
    return Text(Make()->Verdict(
        full.view(), Response(400, R"({"errors":[{"message":"bad","field":"personalizations.)" + number + R"("}]})")));
  };
  EXPECT_EQ(verdict("0.to.0"), "NOT_SENT [0]=REJECTED_RECIPIENT personalizations.0.to.0: bad");
  EXPECT_EQ(verdict("2.to.0"), "NOT_SENT [2]=REJECTED_RECIPIENT personalizations.2.to.0: bad");
  EXPECT_EQ(verdict("3.to.0"), "REJECTED personalizations.3.to.0: bad");
}

TEST_F(SendGridTest, AllThereCanBe) {
  FullMail full;
  sdk::HttpRequest request;
  EXPECT_EQ(Make()->Build(full.view(), request), std::nullopt);
  EXPECT_EQ(request.body,
            R"({"personalizations":[{"to":[{"email":"a@example.org"}],)"
            R"("cc":[{"email":"c@example.org","name":"Cee"}],)"
            R"("bcc":[{"email":"x@example.org"},{"email":"y@example.org"}]}],)"
            R"("from":{"email":"shop@example.com","name":"Shop"},"subject":"Hello",)"
            R"("content":[{"type":"text/plain","value":"Hello\n"},{"type":"text/html","value":"<p>Hello</p>"}],)"
            R"("reply_to_list":[{"email":"help@example.com","name":"Help"}],)"
            R"("attachments":[{"content":"aGk=","type":"application/pdf","filename":"Rechnung ü.pdf",)"
            R"("disposition":"attachment"},{"content":"aGk=","type":"image/png","filename":"logo.png",)"
            R"("disposition":"inline","content_id":"logo"}],"headers":{"X-Campaign":"Grüße"},)"
            R"("categories":["welcome","eu"],"custom_args":{"postbus_id":"event-1","order":"42"}})");
  const auto verdict = [&](const std::string& field) {
    return Text(
        Make()->Verdict(full.view(), Response(400, R"({"errors":[{"message":"bad","field":")" + field + R"("}]})")));
  };
  EXPECT_EQ(verdict("personalizations.0.cc.0.email"),
            "NOT_SENT [1]=REJECTED_RECIPIENT personalizations.0.cc.0.email: bad");
  EXPECT_EQ(verdict("personalizations.0.bcc.1"), "NOT_SENT [3]=REJECTED_RECIPIENT personalizations.0.bcc.1: bad");
}

TEST_F(SendGridTest, Verdicts) {
  const auto transport = Make();
  const auto verdict = [&](uint16_t status, const std::string& body, ResponseHeaders headers = {}) {
    return Text(transport->Verdict(mail_.view(), Response(status, body, std::move(headers))));
  };
  const auto errors = [](const std::string& message, const std::string& field = "null") {
    return R"({"errors":[{"message":")" + message + R"(","field":)" + field + R"(,"help":null}]})";
  };
  EXPECT_EQ(verdict(202, "", {{"X-Message-Id", "14c5"}}), "ACCEPTED id=14c5");
  EXPECT_TRUE(verdict(202, "").starts_with("IN_DOUBT "));
  EXPECT_TRUE(verdict(200, "<html>").starts_with("IN_DOUBT "));
  EXPECT_EQ(verdict(400, errors("The subject is required.", R"("subject")")),
            "REJECTED subject: The subject is required.");
  EXPECT_EQ(verdict(401, errors("Maximum credits exceeded")), "PROVIDER_FAULT Maximum credits exceeded");
  EXPECT_EQ(verdict(403, errors("access forbidden")), "PROVIDER_FAULT access forbidden");
  EXPECT_EQ(verdict(404, ""), "PROVIDER_FAULT the provider does not know this URL; check base_url");
  EXPECT_EQ(verdict(405, ""), "PROVIDER_FAULT the provider does not know this URL; check base_url");
  EXPECT_EQ(verdict(406, errors("Missing Accept")), "PROVIDER_FAULT Missing Accept");
  EXPECT_EQ(verdict(413, errors("too large")), "REJECTED too large");
  EXPECT_EQ(verdict(415, ""), "PROVIDER_FAULT the provider does not take such requests");
  EXPECT_EQ(verdict(451, errors("residency")), "PROVIDER_FAULT residency");
  EXPECT_EQ(verdict(429, errors("too many requests")), "THROTTLED too many requests");
  EXPECT_EQ(verdict(500, ""), "PROVIDER_FAULT the provider is in trouble");
  EXPECT_EQ(verdict(503, ""), "PROVIDER_FAULT the provider is in trouble");
  EXPECT_EQ(verdict(504, ""), "IN_DOUBT a gateway of the provider lost the answer");

  const auto reset = [&](std::time_t at) {
    return transport->Verdict(mail_.view(), Response(429, "", {{"X-RateLimit-Reset", std::to_string(at)}}))
        .retry_after_ms;
  };
  EXPECT_GT(reset(std::time(nullptr) + 60), 50'000u);
  EXPECT_LE(reset(std::time(nullptr) + 60), 60'000u);
  EXPECT_EQ(reset(std::time(nullptr) - 60), 0u);
  EXPECT_EQ(reset(std::time(nullptr) + 90 * 86400), 3'600'000u);
}

TEST_F(SendGridTest, TheSandboxHasNoIds) {
  EXPECT_EQ(Text(Make("global", 1)->Verdict(mail_.view(), Response(200, ""))), "ACCEPTED id=sandbox");
  EXPECT_TRUE(Text(Make("global", 1)->Verdict(mail_.view(), Response(202, ""))).starts_with("IN_DOUBT "));
}

TEST_F(SendGridTest, OneBadRecipientOfThree) {
  mail_.recipients = {"a@example.org", "b@example.org", "c@example.org"};
  const auto verdict = [&](const std::string& field) {
    const std::string one = R"({"message":"bad","field":")" + field + R"(","help":null})";
    const std::string twice = R"({"errors":[)" + one + "," + one + "]}";
    const sdk::Outcome outcome = Make()->Verdict(mail_.view(), Response(400, twice));
    return Text(outcome).substr(0, Text(outcome).find(" personalizations"));
  };
  EXPECT_EQ(verdict("personalizations.0.to.1.email"), "NOT_SENT [1]=REJECTED_RECIPIENT");
  EXPECT_EQ(verdict("personalizations.0.to.2"), "NOT_SENT [2]=REJECTED_RECIPIENT");
  for (const char* field : {"personalizations.0.to.3.email", "personalizations.1.to.0.email", "personalizations.0.to",
                            "personalizations.0.to.x", "personalizations.99999999999999999999.to.0",
                            "personalizations.0.cc.0.email", "personalizations", "personalizations.0.subject"}) {
    EXPECT_EQ(verdict(field), "REJECTED") << field;
  }
  mail_.recipients = {"a@example.org"};
  EXPECT_EQ(verdict("personalizations.0.to.0.email"), "REJECTED [0]=REJECTED_RECIPIENT");
}

}  // namespace
}  // namespace postbus::sendgrid
