// What every Sender does, through RecordingProducer.
#include "postbus/sender.h"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

#include "postbus/producer.h"
#include "postbus/recording_producer.h"

namespace postbus {
namespace {

constexpr std::string_view kFrom = "noreply@usualstore.com";
constexpr std::string_view kTo = "user@example.com";

class SenderTest : public ::testing::Test {
 protected:
  Result<std::string> Reset(std::string_view to, const TemplateData& data = {{"Link", "https://usualstore.com/r?t=1"}},
                            std::string_view priority = kPriorityHigh) {
    return sender_.SendEmail(kFrom, to, "Password Reset Request", "password-reset", data, priority, {});
  }
  std::string ErrorOf(const Result<std::string>& result) const {
    EXPECT_FALSE(result.ok());
    EXPECT_TRUE(result.ok() || result.status().kind() == ErrorKind::kInvalid);
    return result.ok() ? "" : std::string(result.status().message());
  }

  RecordingProducer sender_;
};

TEST_F(SenderTest, AMailBecomesAnEventInTheSeedsForm) {
  const auto id = Reset(kTo);
  ASSERT_TRUE(id.ok()) << id.status().message();
  const auto sent = sender_.sent();
  ASSERT_EQ(sent.size(), 1u);
  EXPECT_EQ(sent[0].id, *id);
  EXPECT_EQ(sent[0].priority, "high");
  const std::string begin = R"({"type":"","message":{"id":")" + *id + R"(","timestamp":")";
  EXPECT_EQ(sent[0].json.substr(0, begin.size()), begin);
  const std::string end =
      R"("retry_count":0,"status":"pending","from":"noreply@usualstore.com","to":"user@example.com",)"
      R"("subject":"Password Reset Request","template":"password-reset","priority":"high",)"
      R"("data":{"Link":"https://usualstore.com/r?t=1"}}})";
  EXPECT_TRUE(sent[0].json.ends_with(end)) << sent[0].json;
}

TEST_F(SenderTest, IdsDiffer) {
  const auto one = Reset(kTo);
  const auto two = Reset(kTo);
  ASSERT_TRUE(one.ok() && two.ok());
  EXPECT_NE(*one, *two);
}

TEST_F(SenderTest, DoneIsToldOnceOfWhatWasTakenAndNeverOfWhatWasNot) {
  int told = 0;
  const auto done = [&told](const Status& status) { told += status.ok() ? 1 : 100; };
  EXPECT_TRUE(sender_.SendEmail(kFrom, kTo, "", "welcome", {}, kPriorityLow, done).ok());
  EXPECT_EQ(told, 1);
  EXPECT_FALSE(sender_.SendEmail(kFrom, "no-at-sign", "", "welcome", {}, kPriorityLow, done).ok());
  EXPECT_EQ(told, 1);
  sender_.AnswerWith(ErrorKind::kUncertain, "no answer");
  EXPECT_TRUE(sender_.SendEmail(kFrom, kTo, "", "welcome", {}, kPriorityLow, done).ok());
  EXPECT_EQ(told, 101);
}

TEST_F(SenderTest, BadInputIsAnErrorBeforeAnythingIsTaken) {
  EXPECT_EQ(ErrorOf(Reset("no-at-sign")),
            "the mail is refused: /to: \"no-at-sign\" is not an address (RFC 5322 addr-spec)");
  EXPECT_NE(ErrorOf(Reset("")).find("/to: "), std::string::npos);
  EXPECT_NE(ErrorOf(Reset("a@b.example\r\nBcc: c@d.example")).find("/to: "), std::string::npos);
  EXPECT_NE(ErrorOf(Reset(kTo, {}, "urgent")).find("/priority: "), std::string::npos);
  EXPECT_NE(ErrorOf(sender_.SendEmail(kFrom, kTo, "", "../etc", {}, kPriorityLow, {})).find("/template: "),
            std::string::npos);
  EXPECT_NE(ErrorOf(sender_.SendEmail("", "", "a\nb", "", {}, "", {})).find("; "), std::string::npos) << "all at once";
  EXPECT_NE(ErrorOf(sender_.SendMessage("{", {})).find("the mail is refused: "), std::string::npos);
  EXPECT_NE(
      ErrorOf(sender_.SendMessage(R"({"to":"a@b.example","template":"t","scheduled":1})", {})).find("/scheduled: "),
      std::string::npos);
  EXPECT_NE(
      ErrorOf(sender_.SendMessage(R"({"to":"a@b.example","template":"t","scheduled_at":"9999-01-01T00:00:00Z"})", {}))
          .find("/scheduled_at: "),
      std::string::npos);
  EXPECT_TRUE(sender_.sent().empty());
}

TEST_F(SenderTest, AnEmptySenderAndSubjectAreLeftToTheHost) {
  EXPECT_TRUE(sender_.SendEmail("", kTo, "", "welcome", {}, "", {}).ok());
  EXPECT_EQ(sender_.sent().at(0).priority, "normal");
}

TEST_F(SenderTest, DataIsOneJsonObjectWhateverIsInIt) {
  ASSERT_TRUE(Reset(kTo, {{"a\"b", "c\\d\n"}, {"e", "\xff"}}).ok());
  EXPECT_TRUE(sender_.sent().at(0).json.ends_with("\"data\":{\"a\\\"b\":\"c\\\\d\\n\",\"e\":\"\uFFFD\"}}}"))
      << sender_.sent().at(0).json;
  ASSERT_TRUE(Reset(kTo, TemplateData::FromJson(" {\"Items\": [1, {\"n\": 2}]}\n")).ok());
  EXPECT_TRUE(sender_.sent().at(1).json.ends_with("\"data\":{\"Items\": [1, {\"n\": 2}]}}}"));

  for (const char* text : {"", " ", "null", "[]", "\"text\"", "{", "{}}", R"({},"id":"stolen")",
                           R"({},"subject":"other")", R"({} , "max_retries":7)", "{}{}"}) {
    EXPECT_FALSE(Reset(kTo, TemplateData::FromJson(text)).ok()) << text;
  }
  EXPECT_EQ(sender_.sent().size(), 2u);
}

TEST_F(SenderTest, AMessageKeepsItsIdAndAWholeEventItsType) {
  const auto id = sender_.SendMessage(R"({"id":"order-17","to":["a@b.example","c@d.example"],"template":"t"})", {});
  ASSERT_TRUE(id.ok()) << id.status().message();
  EXPECT_EQ(*id, "order-17");
  ASSERT_TRUE(sender_.SendMessage(R"({"type":"welcome","message":{"to":"a@b.example","template":"t"}})", {}).ok());
  EXPECT_TRUE(sender_.sent().at(1).json.starts_with(R"({"type":"welcome","message":{)"));
}

TEST_F(SenderTest, AFutureHasTheIdOrTheReason) {
  auto kept = sender_.SendEmail(kFrom, kTo, "Welcome", "welcome", {{"Name", "Ada"}});
  auto id = kept.get();
  ASSERT_TRUE(id.ok());
  EXPECT_EQ(*id, sender_.sent().at(0).id);

  EXPECT_EQ(sender_.SendMessage("[]").get().status().kind(), ErrorKind::kInvalid);
  sender_.AnswerWith(ErrorKind::kUnavailable, "Kafka: away");
  auto refused = sender_.SendEmail(kFrom, kTo, "Welcome", "welcome", {{"Name", "Ada"}}).get();
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.status().kind(), ErrorKind::kUnavailable);
  EXPECT_EQ(refused.status().message(), "Kafka: away");
}

TEST_F(SenderTest, AFullQueueIsQueueFullAtOnce) {
  sender_.SetCapacity(1);
  EXPECT_TRUE(Reset(kTo).ok());
  const auto full = Reset(kTo);
  ASSERT_FALSE(full.ok());
  EXPECT_EQ(full.status().kind(), ErrorKind::kUnavailable);
  EXPECT_TRUE(full.status().message().starts_with("QUEUE_FULL: ")) << full.status().message();
  EXPECT_EQ(sender_.SendEmail(kFrom, kTo, "", "welcome", {}).get().status().kind(), ErrorKind::kUnavailable);
}

TEST_F(SenderTest, ManyThreadsMaySend) {
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([this] {
      for (int n = 0; n < 100; ++n) EXPECT_TRUE(Reset(kTo).ok());
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(sender_.sent().size(), 400u);
}

TEST(ProducerFromEnv, RefusesKafkaEnabledFalseAndWhatIsNeither) {
  setenv("KAFKA_ENABLED", "false", 1);
  auto producer = Producer::FromEnv();
  ASSERT_FALSE(producer.ok());
  EXPECT_EQ(producer.status().message().find("KAFKA_ENABLED=false: "), 0u) << producer.status().message();
  setenv("KAFKA_ENABLED", "yes", 1);
  producer = Producer::FromEnv();
  ASSERT_FALSE(producer.ok());
  EXPECT_EQ(producer.status().message(), "the variable KAFKA_ENABLED must be true or false, or not be set");
  unsetenv("KAFKA_ENABLED");
}

TEST(ProducerOpen, RefusesSettingsThatWouldBreakTheGuarantee) {
  auto producer = Producer::Open({.librdkafka = {{"acks", "1"}}, .log = {}});
  ASSERT_FALSE(producer.ok());
  EXPECT_NE(producer.status().message().find("\"acks\" may not be set here"), std::string::npos);
}

}  // namespace
}  // namespace postbus
