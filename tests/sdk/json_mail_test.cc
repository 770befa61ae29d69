#include "postbus/json_mail.hpp"

#include <gtest/gtest.h>

#include "postbus/testing/fake_host.hpp"

namespace postbus::sdk {
namespace {

TEST(JsonBodyTest, WritesWhatThereIs) {
  testing::FakeMail mail(1);
  mail.recipients = {"a@example.org", "b@example.org"};
  mail.headers = {{"X-A", "\"quoted\"\n"}};
  mail.metadata = {{"order", "42"}, {"postbus_id", "forged"}};
  mail.tags = {"t", "u"};
  mail.attachments = {
      {.filename = "a.png", .content_type = "image/png; name=\"a\"", .content_id = "logo", .base64 = "aGk="}};
  const postbus_mail& view = mail.view();
  const postbus_parts& parts = *view.parts;
  JsonBody json;
  json.Address("from", parts.from);
  json.Addresses("to", {parts.to, parts.n_to});
  json.Addresses("cc", {parts.cc, parts.n_cc});
  json.TextIfAny("html", View(parts.html));
  json.Text("subject", "");
  json.Texts("tags", {parts.tags, parts.n_tags});
  json.Headers("headers", parts);
  json.Metadata("custom", view);
  json.Attachments("files", parts);
  json.Number("n", -1);
  json.Raw("settings", R"({"a":true})");
  json.BeginArray("list");
  json.BeginObject();
  json.EndObject();
  json.EndArray();
  EXPECT_EQ(json.Take(), R"({"from":{"email":"shop@example.com","name":"Shop"},)"
                         R"("to":[{"email":"a@example.org"},{"email":"b@example.org"}],"subject":"","tags":["t","u"],)"
                         R"("headers":{"X-A":"\"quoted\"\n"},"custom":{"postbus_id":"event-1","order":"42"},)"
                         R"("files":[{"content":"aGk=","type":"image/png","filename":"a.png","disposition":"inline",)"
                         R"("content_id":"logo"}],"n":-1,"settings":{"a":true},"list":[{}]})");
}

TEST(JsonAnswerTest, AsksWithoutTrust) {
  const rapidjson::Document answer = ParseJson(R"({"id":"7","n":1,"ids":["a",2,"b"],"none":[]})");
  EXPECT_EQ(JsonText(answer, "id"), "7");
  EXPECT_EQ(JsonText(answer, "n"), "");
  EXPECT_EQ(JsonText(answer, "other"), "");
  EXPECT_EQ(JsonTexts(answer, "ids"), (std::vector<std::string_view>{"a", "b"}));
  EXPECT_EQ(JsonItems(answer, "ids").size(), 3u);
  EXPECT_TRUE(JsonItems(answer, "id").empty());
  for (const std::string& body :
       {std::string("<html>"), std::string(), std::string("[1]"), std::string(100'000, '[')}) {
    EXPECT_EQ(JsonText(ParseJson(body), "id"), "");
    EXPECT_TRUE(JsonTexts(ParseJson(body), "ids").empty());
  }
}

TEST(OutcomeTest, ExceptSaysTheSameOfOneRecipient) {
  Outcome outcome = Outcome::NotSent("refused").At(POSTBUS_PHASE_REQUEST, 400, {5, 1, 1});
  outcome.Except(2, POSTBUS_REJECTED_RECIPIENT);
  ASSERT_EQ(outcome.recipients.size(), 1u);
  EXPECT_EQ(outcome.recipients[0].recipient, 2u);
  EXPECT_EQ(outcome.recipients[0].outcome, POSTBUS_REJECTED_RECIPIENT);
  EXPECT_EQ(outcome.recipients[0].phase, POSTBUS_PHASE_REQUEST);
  EXPECT_EQ(outcome.recipients[0].code, 400);
  EXPECT_EQ(outcome.recipients[0].enhanced, (EnhancedCode{5, 1, 1}));
  EXPECT_EQ(outcome.recipients[0].text, "refused");
}

}  // namespace
}  // namespace postbus::sdk
