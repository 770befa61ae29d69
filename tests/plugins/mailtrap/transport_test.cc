#include "plugins/mailtrap/transport.h"

#include "tests/support/http/provider_test.h"

namespace postbus::mailtrap {
namespace {

using namespace postbus::testing;

class MailtrapTest : public ProviderTest<Transport> {
 protected:
  std::unique_ptr<Transport> Make(Given more = {}) const {
    more.insert(more.begin(), {{"token", "t0ken"}, {"stream", "send"}, {"max_batch", 50}});
    return ProviderTest::Make(kOptions, std::move(more));
  }
};

TEST_F(MailtrapTest, HostsAndPaths) {
  sdk::HttpRequest request;
  const auto path = [&](Transport& transport) {
    EXPECT_EQ(transport.Build(mail_.view(), request), std::nullopt);
    return transport.authority() + request.path;
  };
  EXPECT_EQ(path(*Make()), "send.api.mailtrap.io/api/send");
  EXPECT_EQ(path(*Make({{"stream", "bulk"}})), "bulk.api.mailtrap.io/api/send");
  const auto sandbox = Make({{"stream", "sandbox"}, {"sandbox_id", 42}});
  EXPECT_EQ(path(*sandbox), "sandbox.api.mailtrap.io/api/send/42");
  sdk::HttpRequest batch;
  sandbox->Join(std::vector{request, request}, batch);
  EXPECT_EQ(batch.path, "/api/batch/42");
  EXPECT_EQ(batch.headers[0], "Authorization: Bearer t0ken");
  EXPECT_EQ(Json(batch)["requests"].Size(), 2u);
  EXPECT_TRUE(Json(batch)["requests"][1] == Json(request));
  EXPECT_THROW(Make({{"stream", "sandbox"}}), std::runtime_error);
}

TEST_F(MailtrapTest, AllThereCanBe) {
  FullMail full;
  sdk::HttpRequest request;
  EXPECT_EQ(Make()->Build(full.view(), request), std::nullopt);
  EXPECT_EQ(request.body, R"({"from":{"email":"shop@example.com","name":"Shop"},"to":[{"email":"a@example.org"}],)"
                          R"("cc":[{"email":"c@example.org","name":"Cee"}],)"
                          R"("bcc":[{"email":"x@example.org"},{"email":"y@example.org"}],)"
                          R"("reply_to":{"email":"help@example.com","name":"Help"},)"
                          R"("subject":"Hello","text":"Hello\n","html":"<p>Hello</p>",)"
                          R"("attachments":[{"content":"aGk=","type":"application/pdf","filename":"Rechnung ü.pdf",)"
                          R"("disposition":"attachment"},{"content":"aGk=","type":"image/png","filename":"logo.png",)"
                          R"("disposition":"inline","content_id":"logo"}],"headers":{"X-Campaign":"Grüße"},)"
                          R"("category":"welcome","custom_variables":{"postbus_id":"event-1","order":"42"}})");
  full.parts().n_reply_to = 2;
  EXPECT_EQ(Text(Make()->Build(full.view(), request).value()), "UNSUPPORTED Mailtrap takes one reply_to");
}

TEST_F(MailtrapTest, AnEmptyPartIsLeftOut) {
  mail_.html = "";
  sdk::HttpRequest request;
  Make()->Build(mail_.view(), request);
  EXPECT_FALSE(Json(request).HasMember("html")) << request.body;
  EXPECT_STREQ(Json(request)["text"].GetString(), "Hello\n");
}

TEST_F(MailtrapTest, Verdicts) {
  const auto transport = Make();
  const auto verdict = [&](uint16_t status, const std::string& body, ResponseHeaders headers = {}) {
    return Text(transport->Verdict(mail_.view(), Response(status, body, std::move(headers))));
  };
  EXPECT_EQ(verdict(200, R"({"success":true,"message_ids":["0c7f","0c80"]})"), "ACCEPTED id=0c7f");
  EXPECT_EQ(verdict(200, R"({"success":false,"errors":["quota"]})"), "REJECTED quota");
  EXPECT_EQ(verdict(400, R"({"success":false,"errors":["'from' is required","'subject' is required"]})"),
            "REJECTED 'from' is required; 'subject' is required");
  EXPECT_EQ(verdict(401, R"({"success":false,"errors":["Unauthorized"]})"), "PROVIDER_FAULT Unauthorized");
  EXPECT_EQ(verdict(403, R"({"success":false,"errors":["Forbidden"]})"), "PROVIDER_FAULT Forbidden");
  EXPECT_EQ(verdict(413, "<html>"), "REJECTED the provider refused the mail");
  EXPECT_EQ(verdict(429, R"({"success":false,"errors":["Too many"]})"), "THROTTLED 10000 Too many");
  EXPECT_EQ(verdict(429, "", {{"Retry-After", "2"}}), "THROTTLED 2000 too many requests");
  EXPECT_EQ(verdict(500, R"({"success":false,"errors":["Internal server error"]})"),
            "PROVIDER_FAULT Internal server error");
  EXPECT_EQ(verdict(503, ""), "PROVIDER_FAULT the provider is in trouble");
  EXPECT_EQ(verdict(502, "<html>"), "IN_DOUBT a gateway of the provider lost the answer");
  // Whoever this is.
  for (const char* body : {"", "<html>OK</html>", "[]", "null", "7", R"({"success":true})", R"({"message_ids":[7]})",
                           R"({"message_ids":"x","errors":{}})"}) {
    EXPECT_TRUE(verdict(200, body).starts_with("IN_DOUBT ")) << body;
  }
}

TEST_F(MailtrapTest, VerdictsOfABatch) {
  const auto transport = Make();
  const std::vector<const postbus_mail*> mails(3, &mail_.view());
  const auto verdicts = [&](uint16_t status, const std::string& body) {
    std::string text;
    for (const sdk::Outcome& one : transport->Verdicts(mails, Response(status, body))) text += Text(one) + "|";
    return text;
  };
  EXPECT_EQ(verdicts(200, R"({"success":true,"responses":[{"success":true,"message_ids":["a"]},
                              {"success":false,"errors":["'to' address is invalid"]},
                              {"success":true,"message_ids":["c"]}]})"),
            "ACCEPTED id=a|REJECTED 'to' address is invalid|ACCEPTED id=c|");
  EXPECT_EQ(verdicts(400, R"({"success":false,"errors":["bad"]})"), "") << "each goes again by itself";
  EXPECT_EQ(verdicts(200, R"({"success":false,"errors":["bad"]})"), "");
  EXPECT_EQ(verdicts(401, R"({"errors":["Unauthorized"]})"), "PROVIDER_FAULT Unauthorized|");
  EXPECT_EQ(verdicts(429, "{}"), "THROTTLED 10000 too many requests|");
  EXPECT_TRUE(verdicts(200, "{}").starts_with("IN_DOUBT "));
  EXPECT_TRUE(verdicts(504, "").starts_with("IN_DOUBT "));
}

}  // namespace
}  // namespace postbus::mailtrap
