#include <gtest/gtest.h>

#include <cstdio>

#include "event/email_event.h"
#include "tests/event/allocation_counter.h"
#include "tests/event/injections.h"
#include "tests/event/samples.h"

namespace postbus {
namespace {

using Violations = std::vector<std::pair<std::string, std::string>>;

class EventDecoderTest : public ::testing::Test {
 protected:
  bool Decode(std::string_view json, Strictness strictness = Strictness::kQueue) {
    return decoder_.Decode(json, strictness, event_);
  }
  Violations Why() const {
    Violations violations;
    for (const Violation& violation : decoder_.violations())
      violations.emplace_back(violation.pointer, violation.detail);
    return violations;
  }
  // Decodes a whole event with these members added to a valid message.
  bool DecodeWith(std::string_view members, Strictness strictness = Strictness::kQueue) {
    text_ = R"({"message":{"to":"a@b","template":"t",)" + std::string(members) + "}}";
    return Decode(text_, strictness);
  }
  std::string_view At(std::string_view json, ByteRange range) { return json.substr(range.offset, range.size); }

  void ExpectRefused(std::string_view json, std::string_view pointer, std::string_view detail_part) {
    ASSERT_FALSE(Decode(json)) << json.substr(0, 200);
    ASSERT_GE(decoder_.violations().size(), 1u);
    EXPECT_EQ(decoder_.violations()[0].pointer, pointer) << decoder_.violations()[0].detail;
    EXPECT_NE(decoder_.violations()[0].detail.find(detail_part), std::string::npos) << decoder_.violations()[0].detail;
  }
  void ExpectSyntaxError(std::string_view json, size_t offset) {
    ExpectRefused(json, "", "not JSON at byte " + std::to_string(offset) + ":");
    EXPECT_EQ(decoder_.violations().size(), 1u);
  }

  EventDecoder decoder_;
  EmailEvent event_;
  std::string text_;
};

TEST_F(EventDecoderTest, SeedExample) {
  for (const Strictness strictness : {Strictness::kQueue, Strictness::kApi}) {
    ASSERT_TRUE(Decode(kSeedExample, strictness));
    EXPECT_TRUE(decoder_.violations().empty());
    EXPECT_EQ(event_.type, "password_reset");
    EXPECT_EQ(event_.id, "550e8400-e29b-41d4-a716-446655440000");
    EXPECT_EQ(event_.from, (Mailbox{"", "noreply@usualstore.com"}));
    EXPECT_EQ(event_.to, (std::vector<Mailbox>{{"", "user@example.com"}}));
    EXPECT_EQ(event_.subject, "Password Reset Request");
    EXPECT_EQ(event_.template_name, "password-reset");
    EXPECT_EQ(event_.priority, Priority::kHigh);
    EXPECT_EQ(event_.timestamp_unix_ms, 1766692800000);
    EXPECT_EQ(event_.max_retries, 3);
    EXPECT_EQ(At(kSeedExample, event_.data), "{\n      \"Link\": \"https://usualstore.com/reset?token=abc123\"\n    }");
    EXPECT_EQ(At(kSeedExample, event_.retry_count), "0");
    EXPECT_EQ(At(kSeedExample, event_.status), "\"pending\"");
    EXPECT_EQ(At(kSeedExample, event_.id_value), "\"550e8400-e29b-41d4-a716-446655440000\"");
    EXPECT_EQ(At(kSeedExample, event_.from_value), "\"noreply@usualstore.com\"");
    EXPECT_EQ(At(kSeedExample, event_.timestamp_value), "\"2025-12-25T20:00:00Z\"");
    const std::string_view message = At(kSeedExample, event_.message);
    EXPECT_TRUE(message.starts_with("{\n    \"id\""));
    EXPECT_TRUE(message.ends_with("\"pending\"\n  }"));
  }
}

TEST_F(EventDecoderTest, GoZeroValuesAreAbsent) {
  for (const Strictness strictness : {Strictness::kQueue, Strictness::kApi}) {
    ASSERT_TRUE(Decode(kGoZeroValues, strictness));
    EXPECT_EQ(event_.type, "");
    EXPECT_EQ(event_.id, "");
    EXPECT_EQ(event_.from, Mailbox());
    EXPECT_EQ(event_.to, (std::vector<Mailbox>{{"", "user@example.com"}}));
    EXPECT_EQ(event_.subject, "");
    EXPECT_EQ(event_.template_name, "welcome");
    EXPECT_EQ(event_.priority, Priority::kNormal);
    EXPECT_EQ(event_.timestamp_unix_ms, 0);
    EXPECT_EQ(event_.max_retries, EmailEvent::kAbsent);
    EXPECT_EQ(event_.data.size, 0u);
    EXPECT_EQ(At(kGoZeroValues, event_.status), "\"\"");
  }
}

TEST_F(EventDecoderTest, OptionalFieldsMayBeMissingNullEmptyOrZero) {
  EXPECT_TRUE(Decode(R"({"message":{"to":"a@b","template":"t"}})"));
  for (const std::string_view absent : {"null", "\"\"", "0", "-0", "0.0", "0e5"}) {
    for (const std::string_view field :
         {"id",        "from",         "cc",          "bcc",         "reply_to",    "subject",  "data",
          "html",      "text",         "attachments", "headers",     "tags",        "metadata", "priority",
          "timestamp", "scheduled_at", "expires_at",  "retry_count", "max_retries", "status"}) {
      EXPECT_TRUE(DecodeWith("\"" + std::string(field) + "\":" + std::string(absent))) << field << " " << absent;
    }
    EXPECT_TRUE(Decode(R"({"type":)" + std::string(absent) + R"(,"message":{"to":"a@b","template":"t"}})"));
    EXPECT_EQ(event_.data.size, 0u);
    EXPECT_EQ(event_.max_retries, EmailEvent::kAbsent);
  }
}

TEST_F(EventDecoderTest, AnObjectIsReusedWithoutTraces) {
  ASSERT_TRUE(Decode(kSeedExample));
  ASSERT_TRUE(Decode(R"({"message":{"to":["x@y","N <z@y>"],"template":"t"}})"));
  EXPECT_EQ(event_.to, (std::vector<Mailbox>{{"", "x@y"}, {"N", "z@y"}}));
  ASSERT_TRUE(Decode(R"({"message":{"to":"a@b","template":"t"}})"));
  EXPECT_EQ(event_.type, "");
  EXPECT_EQ(event_.id, "");
  EXPECT_EQ(event_.from, Mailbox());
  EXPECT_EQ(event_.to, (std::vector<Mailbox>{{"", "a@b"}}));
  EXPECT_EQ(event_.subject, "");
  EXPECT_EQ(event_.template_name, "t");
  EXPECT_EQ(event_.priority, Priority::kNormal);
  EXPECT_EQ(event_.timestamp_unix_ms, 0);
  EXPECT_EQ(event_.max_retries, EmailEvent::kAbsent);
  EXPECT_EQ(event_.data.size, 0u);
  EXPECT_EQ(event_.status.size, 0u);
  ASSERT_TRUE(DecodeWith(R"("scheduled_at":"2025-12-25T20:00:00Z","expires_at":"2025-12-25T20:05:00Z")"));
  ASSERT_TRUE(Decode(R"({"message":{"to":"a@b","template":"t"}})"));
  EXPECT_EQ(event_.scheduled_at_unix_ms, 0);
  EXPECT_EQ(event_.expires_at_unix_ms, 0);
  ASSERT_TRUE(Decode(
      R"({"message":{"to":"a@b","cc":"c@d","bcc":"e@f","reply_to":"g@h","subject":"s","html":"h","text":"t","headers":{"X-A":"b"},)"
      R"("tags":["t"],"metadata":{"m":"n"},"attachments":[{"filename":"a","content":"QUJD"}]}})"));
  ASSERT_TRUE(Decode(R"({"message":{"to":"a@b","template":"t"}})"));
  EXPECT_EQ(event_.recipient_count(), 1u);
  EXPECT_TRUE(event_.reply_to.empty() && event_.html.empty() && event_.text.empty() && event_.headers.empty() &&
              event_.tags.empty() && event_.metadata.empty() && event_.attachments.empty());
  EXPECT_FALSE(Decode("{"));
  EXPECT_TRUE(Decode(kSeedExample));
  EXPECT_TRUE(decoder_.violations().empty());
}

TEST_F(EventDecoderTest, AllocatesNothingInUse) {
  ASSERT_TRUE(Decode(kSeedExample));
  const long before = AllocationCount();
  for (int i = 0; i < 100; ++i) {
    if (!Decode(kSeedExample)) FAIL();
  }
  EXPECT_EQ(AllocationCount(), before);
}

TEST_F(EventDecoderTest, Ids) {
  ASSERT_TRUE(DecodeWith(R"("id":"order-7:A.b_c")"));
  EXPECT_EQ(event_.id, "order-7:A.b_c");
  EXPECT_TRUE(DecodeWith("\"id\":\"" + std::string(128, 'i') + "\""));
  EXPECT_FALSE(DecodeWith("\"id\":\"" + std::string(129, 'i') + "\""));
  EXPECT_FALSE(DecodeWith(R"("id":"a b")"));
  EXPECT_EQ(Why(), (Violations{{"/id", "\"a b\" is not an id: 1 to 128 of A-Z a-z 0-9 . _ : -"}}));
  EXPECT_FALSE(DecodeWith(R"("id":7)"));
  EXPECT_EQ(Why(), (Violations{{"/id", "id must be a string"}}));
}

TEST_F(EventDecoderTest, Recipients) {
  ASSERT_TRUE(Decode(R"({"message":{"to":"Ann \u003ca@b\u003e","template":"t"}})"));
  EXPECT_EQ(event_.to, (std::vector<Mailbox>{{"Ann", "a@b"}}));
  ASSERT_TRUE(Decode(R"({"message":{"to":["a@b"],"template":"t"}})"));
  EXPECT_EQ(event_.to, (std::vector<Mailbox>{{"", "a@b"}}));
  for (const std::string_view missing : {R"("x":1)", R"("to":null)", R"("to":"")", R"("to":[])", R"("to":0)"}) {
    ExpectRefused(R"({"message":{"template":"t",)" + std::string(missing) + "}}", "/to", "to is missing");
    EXPECT_EQ(decoder_.violations().size(), 1u);
  }
  for (const std::string_view wrong : {"1", "true", "{}", R"({"a":["b"]})"}) {
    ExpectRefused(R"({"message":{"template":"t","to":)" + std::string(wrong) + "}}", "/to",
                  "to must be a string or a list of strings");
    EXPECT_EQ(decoder_.violations().size(), 1u);
  }
  EXPECT_FALSE(Decode(R"({"message":{"template":"t","to":["a@b","x",null,1,["c@d"],{"to":"a@b"},"","d@e"]}})"));
  EXPECT_EQ(Why(), (Violations{{"/to/1", "\"x\" is not an address (RFC 5322 addr-spec)"},
                               {"/to/2", "an address must be a string"},
                               {"/to/3", "an address must be a string"},
                               {"/to/4", "an address must be a string"},
                               {"/to/5", "an address must be a string"},
                               {"/to/6", "\"\" is not an address (RFC 5322 addr-spec)"}}));
}

TEST_F(EventDecoderTest, AtMost50Recipients) {
  auto with = [](int count) {
    std::string json = R"({"message":{"template":"t","to":[)";
    for (int i = 0; i < count; ++i) json += (i > 0 ? ",\"r" : "\"r") + std::to_string(i) + "@example.com\"";
    return json + "]}}";
  };
  ASSERT_TRUE(Decode(with(50)));
  EXPECT_EQ(event_.to.size(), 50u);
  EXPECT_EQ(event_.to[49].address, "r49@example.com");
  EXPECT_FALSE(Decode(with(51)));
  EXPECT_EQ(Why(), (Violations{{"/to", "to has 51 recipients; at most 50 are allowed"}}));
  EXPECT_FALSE(Decode(with(20000)));
  EXPECT_EQ(Why(), (Violations{{"/to", "to has 20000 recipients; at most 50 are allowed"}}));
  EXPECT_LE(event_.to.size(), 50u);  // what is refused is not kept, either
}

TEST_F(EventDecoderTest, From) {
  ASSERT_TRUE(DecodeWith(R"("from":"Usual Store <noreply@usualstore.com>")"));
  EXPECT_EQ(event_.from, (Mailbox{"Usual Store", "noreply@usualstore.com"}));
  EXPECT_FALSE(DecodeWith(R"("from":"nobody")"));
  EXPECT_EQ(Why(), (Violations{{"/from", "\"nobody\" is not an address (RFC 5322 addr-spec)"}}));
  EXPECT_FALSE(DecodeWith(R"("from":["a@b"])"));
  EXPECT_EQ(Why(), (Violations{{"/from", "from must be a string"}}));
}

TEST_F(EventDecoderTest, Subject) {
  ASSERT_TRUE(DecodeWith(R"("subject":"Gr\u00fc\u00dfe \ud83c\udf89")"));
  EXPECT_EQ(event_.subject, "Grüße 🎉");
  EXPECT_TRUE(DecodeWith("\"subject\":\"" + std::string(998, 's') + "\""));
  EXPECT_FALSE(DecodeWith("\"subject\":\"" + std::string(999, 's') + "\""));
  EXPECT_EQ(Why(), (Violations{{"/subject", "subject has 999 bytes; at most 998 are allowed"}}));
  std::string umlauts;
  for (int i = 0; i < 500; ++i) umlauts += "ä";
  EXPECT_FALSE(DecodeWith("\"subject\":\"" + umlauts + "\""));
  EXPECT_FALSE(DecodeWith(R"("subject":"Hello\r\nBcc: x@y")"));
  EXPECT_EQ(Why(), (Violations{{"/subject", "subject has a line break in it"}}));
  EXPECT_FALSE(DecodeWith(R"("subject":{"a":1})"));
  EXPECT_EQ(Why(), (Violations{{"/subject", "subject must be a string"}}));
}

TEST_F(EventDecoderTest, Template) {
  auto with = [](std::string_view value) {
    return R"({"message":{"to":"a@b","template":)" + std::string(value) + "}}";
  };
  for (const std::string_view good : {R"("password-reset")", R"("a")", R"("0")", R"("Order_2.final")", R"("a.")"}) {
    EXPECT_TRUE(Decode(with(good))) << good;
  }
  EXPECT_TRUE(Decode(with("\"" + std::string(128, 't') + "\"")));
  EXPECT_FALSE(Decode(with("\"" + std::string(129, 't') + "\"")));
  for (const std::string_view bad :
       {R"("..")", R"("../x")", R"("a/b")", R"("a\\b")", R"("a..b")", R"(".a")", R"("-a")", R"("_a")", R"("a b")",
        R"("ä")", R"("a\n")", R"("a\u0000")", R"("/etc/passwd")", R"(" a")", R"("%2e%2e")"}) {
    ExpectRefused(with(bad), "/template", "is not a template name");
  }
  for (const std::string_view missing : {"null", "\"\"", "0"}) {
    ExpectRefused(with(missing), "/template", "template is missing");
    EXPECT_EQ(decoder_.violations().size(), 1u);
  }
  ExpectRefused(with("[]"), "/template", "template must be a string");
  EXPECT_EQ(decoder_.violations().size(), 1u);
}

TEST_F(EventDecoderTest, Data) {
  ASSERT_TRUE(DecodeWith(R"("data" : {"a":[1,2,{"b":"}\"]"}],"lines":"one\r\ntwo %0d%0a \u2028","":null} )"));
  EXPECT_EQ(At(text_, event_.data), R"({"a":[1,2,{"b":"}\"]"}],"lines":"one\r\ntwo %0d%0a \u2028","":null})");
  ASSERT_TRUE(DecodeWith(R"("data":{})"));
  EXPECT_EQ(At(text_, event_.data), "{}");
  for (const std::string_view wrong : {"[]", R"([{"a":1}])", "1", R"("{}")", "true", "false"}) {
    EXPECT_FALSE(DecodeWith("\"data\":" + std::string(wrong)));
    EXPECT_EQ(Why(), (Violations{{"/data", "data must be an object"}}));
  }
}

TEST_F(EventDecoderTest, NamesOfTheFormatInsideDataMeanNothing) {
  ASSERT_TRUE(DecodeWith(
      R"("data":{"to":1,"message":{"to":2,"retry_count":9},"status":{},"data":[],"priority":"x","data":2,"to":3})"));
  EXPECT_EQ(event_.to[0].address, "a@b");
  EXPECT_EQ(event_.retry_count.size, 0u);
  EXPECT_EQ(event_.status.size, 0u);
  ASSERT_TRUE(
      Decode(R"({"other":{"message":{"to":1},"to":2},"list":[{"type":1}],"message":{"to":"a@b","template":"t"}})"));
  EXPECT_EQ(event_.to[0].address, "a@b");
}

TEST_F(EventDecoderTest, Priority) {
  ASSERT_TRUE(DecodeWith(R"("priority":"high")"));
  EXPECT_EQ(event_.priority, Priority::kHigh);
  ASSERT_TRUE(DecodeWith(R"("priority":"normal")"));
  EXPECT_EQ(event_.priority, Priority::kNormal);
  ASSERT_TRUE(DecodeWith(R"("priority":"l\u006fw")"));
  EXPECT_EQ(event_.priority, Priority::kLow);
  EXPECT_FALSE(DecodeWith(R"("priority":"HIGH")"));
  EXPECT_EQ(Why(), (Violations{{"/priority", "\"HIGH\" is not a priority: high, normal or low"}}));
  EXPECT_FALSE(DecodeWith(R"("priority":1)"));
  EXPECT_EQ(Why(), (Violations{{"/priority", "priority must be a string"}}));
}

TEST_F(EventDecoderTest, Timestamp) {
  ASSERT_TRUE(DecodeWith(R"("timestamp":"2025-12-25T22:30:00.123456789+02:30")"));
  EXPECT_EQ(event_.timestamp_unix_ms, 1766692800123);
  ASSERT_TRUE(DecodeWith(R"("timestamp":"0001-01-01T00:00:00Z")"));
  EXPECT_EQ(event_.timestamp_unix_ms, 0);
  EXPECT_FALSE(DecodeWith(R"("timestamp":"yesterday")"));
  EXPECT_EQ(Why(),
            (Violations{{"/timestamp", "\"yesterday\" is not a time (RFC 3339), such as 2025-12-25T20:00:00Z"}}));
  EXPECT_FALSE(DecodeWith(R"("timestamp":1766692800)"));
  EXPECT_EQ(Why(), (Violations{{"/timestamp", "timestamp must be a string"}}));
}

TEST_F(EventDecoderTest, ScheduledAndExpires) {
  ASSERT_TRUE(DecodeWith(R"("scheduled_at":"2025-12-25T22:30:00+02:30","expires_at":"2025-12-25T20:00:00.001Z")"));
  EXPECT_EQ(event_.scheduled_at_unix_ms, 1766692800000);
  EXPECT_EQ(event_.expires_at_unix_ms, 1766692800001);
  ASSERT_TRUE(DecodeWith(R"("scheduled_at":"0001-01-01T00:00:00Z","expires_at":"1969-12-31T23:59:59Z")")) << "absent";
  EXPECT_EQ(event_.scheduled_at_unix_ms, 0);
  EXPECT_EQ(event_.expires_at_unix_ms, 0);
  ASSERT_TRUE(DecodeWith(R"("expires_at":"2025-12-25T20:00:00Z")")) << "alone";
  for (const std::string_view expires : {"2025-12-25T20:00:00Z", "2025-12-25T19:59:59Z"}) {
    EXPECT_FALSE(DecodeWith(R"("scheduled_at":"2025-12-25T20:00:00Z","expires_at":")" + std::string(expires) + "\""));
    EXPECT_EQ(Why(),
              (Violations{{"/expires_at", "expires_at is not later than scheduled_at: it could never be sent"}}));
  }
  EXPECT_FALSE(DecodeWith(R"("scheduled_at":"tomorrow","expires_at":1766692800)"));
  EXPECT_EQ(Why(), (Violations{{"/scheduled_at", "\"tomorrow\" is not a time (RFC 3339), such as 2025-12-25T20:00:00Z"},
                               {"/expires_at", "expires_at must be a string"}}));
}

TEST_F(EventDecoderTest, HowFarAheadAnEventMayBeScheduled) {
  constexpr int64_t kNow = 1766692800000;
  ASSERT_TRUE(DecodeWith(R"("scheduled_at":"2026-12-26T20:00:00Z")"));  // 366 d
  EXPECT_FALSE(ScheduleViolation(event_, kNow).has_value());
  ASSERT_TRUE(ScheduleViolation(event_, kNow - 1).has_value());
  EXPECT_EQ(ScheduleViolation(event_, kNow - 1)->pointer, "/scheduled_at");
  ASSERT_TRUE(DecodeWith(R"("priority":"low")"));
  EXPECT_FALSE(ScheduleViolation(event_, 0).has_value());
}

TEST_F(EventDecoderTest, MaxRetries) {
  const std::pair<std::string_view, int> good[] = {{"3", 3},
                                                   {"1", 1},
                                                   {"-1", EmailEvent::kNever},
                                                   {"2147483647", 2147483647},
                                                   {"3.0", 3},
                                                   {"0.5e1", 5},
                                                   {"2e2", 200},
                                                   {"0", EmailEvent::kAbsent},
                                                   {"0.0", EmailEvent::kAbsent},
                                                   {"null", EmailEvent::kAbsent}};
  for (const auto& [text, value] : good) {
    ASSERT_TRUE(DecodeWith("\"max_retries\":" + std::string(text))) << text;
    EXPECT_EQ(event_.max_retries, value) << text;
  }
  for (const std::string_view bad :
       {"-2", "1.5", "-0.5", "2147483648", "1e300", "99999999999999999999999999", "1e-300", "-1e9"}) {
    EXPECT_FALSE(DecodeWith("\"max_retries\":" + std::string(bad))) << bad;
    EXPECT_EQ(Why().at(0).first, "/max_retries");
  }
  EXPECT_FALSE(DecodeWith(R"("max_retries":"3")"));
  EXPECT_EQ(Why(), (Violations{{"/max_retries", "max_retries must be an integer"}}));
}

TEST_F(EventDecoderTest, RetryCountAndStatusAreIgnoredWhateverTheyAre) {
  for (const std::string_view value : {"0", "-7", "1e300", "\"sent\"", "\"bogus\\n\"", "null", "true", "false",
                                       "[1,[2]]", R"({"a":{"b":"}"}})", "[]", "{}"}) {
    ASSERT_TRUE(DecodeWith("\"retry_count\" : " + std::string(value) + " , \"status\":\t" + std::string(value) + "\n"))
        << value;
    EXPECT_EQ(At(text_, event_.retry_count), value);
    EXPECT_EQ(At(text_, event_.status), value);
  }
}

TEST_F(EventDecoderTest, Type) {
  auto with = [](std::string_view value) {
    return R"({"message":{"to":"a@b","template":"t"},"type":)" + std::string(value) + "}";
  };
  ASSERT_TRUE(Decode(with(R"("any text: at ALL, Grüße")")));
  EXPECT_EQ(event_.type, "any text: at ALL, Grüße");
  EXPECT_TRUE(Decode(with("\"" + std::string(256, 'x') + "\"")));
  ExpectRefused(with("\"" + std::string(257, 'x') + "\""), "/type", "type has 257 bytes");
  ExpectRefused(with(R"("a\nb")"), "/type", "type has a line break in it");
  ExpectRefused(with("[1]"), "/type", "type must be a string");
  ExpectRefused(with("true"), "/type", "type must be a string");
}

TEST_F(EventDecoderTest, TheMessageMustBeAnObject) {
  ExpectRefused("{}", "/message", "message is missing");
  ExpectRefused(R"({"type":"x"})", "/message", "message is missing");
  ExpectRefused(R"({"message":null})", "/message", "message is missing");
  ExpectRefused(R"({"to":"a@b","template":"t"})", "/message", "message is missing");
  for (const std::string_view wrong : {"[]", "[{}]", "1", "\"x\"", "true"}) {
    ExpectRefused(R"({"message":)" + std::string(wrong) + "}", "/message", "message must be an object");
    EXPECT_EQ(decoder_.violations().size(), 1u);
  }
  ExpectRefused(R"({"message":{}})", "/to", "to is missing");
  EXPECT_EQ(decoder_.violations().size(), 2u);
}

TEST_F(EventDecoderTest, TheRootMustBeAnObject) {
  for (const std::string_view root : {"[]", R"([{"message":{}}])", "1", "\"x\"", "null", "true", " false "}) {
    ExpectRefused(root, "", "the event is not a JSON object");
    EXPECT_EQ(decoder_.violations().size(), 1u);
    EXPECT_FALSE(decoder_.DecodeMessage(root, Strictness::kQueue, event_));
    EXPECT_EQ(Why(), (Violations{{"", "the event is not a JSON object"}}));
  }
}

TEST_F(EventDecoderTest, KnownFieldsStandOnce) {
  for (const std::string_view field :
       {"id",        "from",         "to",         "cc",          "bcc",         "reply_to", "subject",  "template",
        "data",      "html",         "text",       "attachments", "headers",     "tags",     "metadata", "priority",
        "timestamp", "scheduled_at", "expires_at", "retry_count", "max_retries", "status"}) {
    const std::string twice = "\"" + std::string(field) + "\":null,\"" + std::string(field) + "\":null";
    EXPECT_FALSE(Decode("{\"message\":{" + twice + "}}")) << field;
    EXPECT_EQ(Why().at(0),
              (std::pair<std::string, std::string>{"/" + std::string(field), std::string(field) + " is given twice"}));
  }
  ExpectRefused(R"({"message":{"to":"a@b","t\u006f":"c@d","template":"t"}})", "/to", "to is given twice");
  ExpectRefused(R"({"type":"a","message":{"to":"a@b","template":"t"},"type":"b"})", "/type", "type is given twice");
  ExpectRefused(R"({"message":{"to":"a@b","template":"t"},"message":{"to":"c@d","template":"t"}})", "/message",
                "message is given twice");
  EXPECT_EQ(decoder_.violations().size(), 1u);
  EXPECT_TRUE(Decode(R"({"x":1,"x":2,"message":{"to":"a@b","template":"t","y":1,"y":2,"data":{"z":1,"z":2}}})"));
}

TEST_F(EventDecoderTest, QueueIgnoresUnknownFields) {
  EXPECT_TRUE(Decode(
      R"({"version":2,"meta":{"to":1},"message":{"To":1,"to":"a@b","template":"t","schedule":"x","html":null,"tracking":[["a"]]}})"));
  EXPECT_EQ(event_.to[0].address, "a@b");
}

TEST_F(EventDecoderTest, ApiRefusesUnknownMessageFields) {
  EXPECT_TRUE(Decode(R"({"version":2,"message":{"to":"a@b","template":"t"}})", Strictness::kApi));
  EXPECT_FALSE(DecodeWith(R"("subjet":"x","tempalte":{"a":[1]},"maxRetries":3,"TO":"x@y")", Strictness::kApi));
  EXPECT_EQ(Why(), (Violations{{"/subjet", "unknown field \"subjet\"; did you mean \"subject\"?"},
                               {"/tempalte", "unknown field \"tempalte\"; did you mean \"template\"?"},
                               {"/maxRetries", "unknown field \"maxRetries\"; did you mean \"max_retries\"?"},
                               {"/TO", "unknown field \"TO\"; did you mean \"to\"?"}}));
  EXPECT_FALSE(
      DecodeWith(R"("scheduled_att":"2030-01-01T00:00:00Z","a/b~c":1,"":2,"type":"x","state":1)", Strictness::kApi));
  const std::string known =
      "; known are id, from, to, cc, bcc, reply_to, subject, template, data, html, text, attachments, headers, tags, "
      "metadata, priority, timestamp, scheduled_at, expires_at, retry_count, max_retries, status";
  EXPECT_EQ(Why(), (Violations{{"/scheduled_att", "unknown field \"scheduled_att\"; did you mean \"scheduled_at\"?"},
                               {"/a~1b~0c", "unknown field \"a/b~c\"" + known},
                               {"/", "unknown field \"\"" + known},
                               {"/type", "unknown field \"type\"" + known},
                               {"/state", "unknown field \"state\"" + known}}));
}

TEST_F(EventDecoderTest, HugeAndStrangeNamesAreQuotedShort) {
  const std::string huge(500000, 'k');
  EXPECT_TRUE(DecodeWith("\"" + huge + "\":1"));
  EXPECT_FALSE(DecodeWith("\"" + huge + "\":1", Strictness::kApi));
  EXPECT_EQ(Why().at(0).first, "");
  EXPECT_LT(Why().at(0).second.size(), 300u);
  EXPECT_FALSE(DecodeWith(R"("a\nb":1)", Strictness::kApi));
  EXPECT_EQ(Why().at(0).first, "");
  EXPECT_EQ(Why().at(0).second.find('\n'), std::string::npos);
}

TEST_F(EventDecoderTest, CollectsViolationsInOrder) {
  EXPECT_FALSE(Decode(
      R"({"type":"a\u0007","message":{"id":"a b","from":"x","priority":"urgent","timestamp":"now","max_retries":-5,"data":[]}})"));
  std::vector<std::string> pointers;
  for (const auto& [pointer, detail] : Why()) pointers.push_back(pointer);
  EXPECT_EQ(pointers, (std::vector<std::string>{"/type", "/id", "/from", "/priority", "/timestamp", "/max_retries",
                                                "/data", "/to", "/template"}));
}

TEST_F(EventDecoderTest, CollectsAtMost20Violations) {
  std::string json = R"({"message":{"template":"t","to":[)";
  for (int i = 0; i < 40; ++i) json += std::string(i > 0 ? "," : "") + "\"x\"";
  EXPECT_FALSE(Decode(json + "]}}"));
  EXPECT_EQ(Why().size(), 20u);
  EXPECT_EQ(Why().back().first, "/to/19");
  // The rest is not even parsed: what is refused costs little.
  EXPECT_FALSE(Decode(json + "]} no JSON"));
  EXPECT_EQ(Why().size(), 20u);
}

TEST_F(EventDecoderTest, SyntaxErrorsGiveOneViolationWithTheOffset) {
  ExpectSyntaxError("", 0);
  ExpectSyntaxError("   ", 3);
  ExpectSyntaxError("{", 1);
  ExpectSyntaxError("x", 0);
  ExpectSyntaxError(R"({"message":{"id":7,"to":"a@b",}})", 30);
  ExpectSyntaxError(R"({"message":{"to":["a@b",]}})", 24);
  ExpectSyntaxError("{'message':{}}", 1);
  ExpectSyntaxError(R"({"message":{}} x)", 15);
  ExpectSyntaxError(R"({"message":{}}{})", 14);
  ExpectSyntaxError(R"({"message":01})", 12);
  ExpectSyntaxError(R"({"message":+1})", 11);
  ExpectSyntaxError(R"({"message":NaN})", 11);
  ExpectSyntaxError(R"({"message":Infinity})", 11);
  ExpectSyntaxError(R"({"message":"unfinished)", 22);
  ExpectSyntaxError("{\"message\":\"line\nbreak\"}", 16);
  ExpectSyntaxError("{\"message\":\"tab\t\"}", 15);
  ExpectSyntaxError(R"({"message":"\x41"})", 12);
  ExpectSyntaxError(R"({"message":"\u12g4"})", 12);
  ExpectSyntaxError(R"({"message" "x"})", 11);
  ExpectSyntaxError("/* comment */{}", 0);
  ExpectSyntaxError("\xEF\xBB\xBF{}", 0);  // a byte order mark
  ExpectSyntaxError(
      "{\"a\":\xC2\xA0"
      "1}",
      5);
}

TEST_F(EventDecoderTest, EveryTruncationOfTheSeedExampleIsRefused) {
  for (size_t size = 0; size < kSeedExample.size(); ++size) {
    // A copy of exactly this size: a sanitizer sees a read behind its end.
    const std::vector<char> copy(kSeedExample.begin(), kSeedExample.begin() + static_cast<std::ptrdiff_t>(size));
    ASSERT_FALSE(Decode({copy.data(), copy.size()})) << size;
    ASSERT_EQ(Why().size(), 1u);
  }
}

TEST_F(EventDecoderTest, NulBytesAreNoEnd) {
  std::string json(R"({"message":{"to":"a@b","template":"t"}})");
  ExpectSyntaxError(json + '\0', json.size());
  ExpectSyntaxError(json + std::string("\0garbage", 8), json.size());
  ExpectSyntaxError(std::string(1, '\0') + json, 0);
  ExpectSyntaxError(std::string("{\"a\":\"x\0y\"}", 11), 7);
  ExpectSyntaxError(std::string("{\"a\0\":1}", 8), 3);
}

TEST_F(EventDecoderTest, EscapedNulIsRefusedInAnyString) {
  for (const std::string_view members :
       {R"("id":"a\u0000")", R"("from":"a\u0000@b")", R"("subject":"a\u0000b")", R"("data":{"a":"x\u0000"})",
        R"("data":{"a":[{"b\u0000c":1}]})", R"("priority":"high\u0000")", R"("timestamp":"2025-12-25T20:00:00Z\u0000")",
        R"("retry_count":"\u0000")", R"("status":"sent\u0000")", R"("status":["\u0000"])", R"("x":"\u0000")",
        R"("x\u0000":1)", R"("x":{"y":["\u0000"]})"}) {
    EXPECT_FALSE(DecodeWith(members)) << members;
    EXPECT_FALSE(DecodeWith(members, Strictness::kApi)) << members;
  }
  EXPECT_FALSE(DecodeWith(R"("data":{"a":["x\u0000y"]})"));
  EXPECT_EQ(Why(), (Violations{{"/data", "a string has U+0000 in it"}}));
  EXPECT_FALSE(Decode(R"({"message":{"to":"a@b","template":"t"},"other":["\u0000"]})"));
  EXPECT_EQ(Why(), (Violations{{"", "a string has U+0000 in it"}}));
}

TEST_F(EventDecoderTest, LoneSurrogateEscapesAreRefusedInAnyString) {
  for (const std::string_view half : {R"(\ud800)", R"(\udbff)", R"(\udc00)", R"(\udfff)", R"(\ud800x)", R"(\ud800\n)",
                                      R"(\ud800\ud800)", R"(\udc00\ud800)", R"(\udc00\udc00)", R"(\ud800\u0041)"}) {
    for (const std::string_view before : {R"("subject":")", R"("data":{"a":")", R"("status":")", R"("x":[")"}) {
      const std::string_view after = before.find('{') != std::string_view::npos   ? "\"}"
                                     : before.find('[') != std::string_view::npos ? "\"]"
                                                                                  : "\"";
      EXPECT_FALSE(DecodeWith(std::string(before) + std::string(half) + std::string(after))) << before << half;
    }
    EXPECT_FALSE(DecodeWith("\"" + std::string(half) + "\":1")) << half;
  }
  EXPECT_TRUE(DecodeWith(R"("data":{"\ud83c\udf89":"\ud7ff\ue000\ud83c\udf89 )"
                         "\xED\x9F\xBF"
                         R"("})"));
}

TEST_F(EventDecoderTest, BadUtf8IsRefusedEverywhere) {
  for (const std::string_view bad : {"\x80",
                                     "\xBF",
                                     "\xC0\x8A",
                                     "\xC0\x80",
                                     "\xC1\xBF",
                                     "\xE0\x80\x8A",
                                     "\xE0\x9F\xBF",
                                     "\xF0\x80\x80\x8A",
                                     "\xF0\x8F\xBF\xBF",
                                     "\xED\xA0\x80",
                                     "\xED\xBF\xBF",
                                     "\xED\xA0\x8D\xED\xB0\x8A",
                                     "\xF4\x90\x80\x80",
                                     "\xF5\x80\x80\x80",
                                     "\xF8\x88\x80\x80\x80",
                                     "\xFF",
                                     "\xFE",
                                     "\xC2",
                                     "\xE2\x82",
                                     "\xF0\x9F\x98",
                                     "\xE2\x28\xA1"}) {
    const std::string text(bad);
    for (const std::string& json : {R"({"message":{"to":"a@b","template":"t","subject":"a)" + text + "b\"}}",
                                    R"({"message":{"to":"a@b","template":"t","data":{"a":")" + text + "\"}}}",
                                    R"({"message":{"to":"a@b","template":"t","x)" + text + "\":1}}",
                                    R"({"x":[")" + text + R"("],"message":{"to":"a@b","template":"t"}})",
                                    R"({"message":{"to":"a@b","template":"t"}})" + text}) {
      ExpectRefused(json, "", "not JSON at byte ");
    }
  }
}

TEST_F(EventDecoderTest, DepthIsBounded) {
  auto nested = [](size_t depth, char open, char close) {
    return R"({"message":{"to":"a@b","template":"t","data":{"x":)" + std::string(depth, open) +
           std::string(depth, close) + "}}}";
  };
  EXPECT_TRUE(Decode(nested(29, '[', ']')));
  ExpectRefused(nested(30, '[', ']'), "", "nested deeper than 32 levels at byte ");
  EXPECT_EQ(decoder_.violations().size(), 1u);
  std::string objects;
  for (int i = 0; i < 29; ++i) objects += "{\"a\":";
  objects += "1" + std::string(29, '}');
  EXPECT_TRUE(DecodeWith("\"data\":{\"x\":" + objects + "}"));
  EXPECT_FALSE(DecodeWith("\"data\":{\"x\":{\"a\":" + objects + "}}"));

  EventDecoder large(EventLimits{.max_bytes = 16 << 20});
  constexpr size_t kMillion = 1000000;
  std::string million_objects;
  for (size_t i = 0; i < kMillion; ++i) million_objects += "{\"a\":";
  for (const std::string& json :
       {std::string(kMillion, '['), std::string(kMillion, '{'), million_objects, nested(kMillion, '[', ']'),
        std::string(kMillion, '[') + std::string(kMillion, ']'), R"({"message":)" + million_objects,
        R"({"message":{"to":)" + std::string(kMillion, '[')}) {
    EXPECT_FALSE(large.Decode(json, Strictness::kQueue, event_));
    EXPECT_EQ(large.violations().size(), 1u);
    EXPECT_FALSE(large.DecodeMessage(json, Strictness::kApi, event_));
    EXPECT_EQ(large.violations().size(), 1u);
    (void)EventDecoder::LooksLikeMessage(json);
  }
}

TEST_F(EventDecoderTest, SizeIsBounded) {
  auto of = [](size_t size) {
    const std::string head = R"({"message":{"to":"a@b","template":"t","data":{"x":")";
    return head + std::string(size - head.size() - 4, 'x') + "\"}}}";
  };
  constexpr size_t kMax = 900 * 1024;
  EXPECT_TRUE(Decode(of(kMax)));
  ExpectRefused(of(kMax + 1), "", "the event has 921601 bytes; at most 921600 are allowed (limits.max_event)");
  ExpectRefused(of(2 << 20), "", "the event has 2097152 bytes");
  ExpectRefused(std::string(2 << 20, '\xFF'), "", "the event has 2097152 bytes");
  EXPECT_TRUE(Decode(of(kMax - EventLimits::kAcceptanceBytes), Strictness::kApi));
  EXPECT_FALSE(Decode(of(kMax - EventLimits::kAcceptanceBytes + 1), Strictness::kApi));
  EventDecoder small(EventLimits{.max_bytes = 100});
  EXPECT_TRUE(small.Decode(of(100), Strictness::kQueue, event_));
  EXPECT_FALSE(small.Decode(of(101), Strictness::kQueue, event_));
  EXPECT_FALSE(small.Decode("{}", Strictness::kApi, event_));
}

TEST_F(EventDecoderTest, HostileNumbers) {
  for (const std::string_view number :
       {"1e308", "-1e308", "1e-999", "-1e-99999", "1e-0000000001", "0.1e-5", "-0", "1E+2",
        "123456789012345678901234567890", "0.00000000000000000000000000001e-99999"}) {
    EXPECT_TRUE(DecodeWith("\"data\":{\"n\":" + std::string(number) + "},\"retry_count\":" + std::string(number)))
        << number;
    EXPECT_EQ(At(text_, event_.retry_count), number);
    (void)DecodeWith("\"max_retries\":" + std::string(number));
  }
  // The first one makes RapidJSON 1.1 abort where it converts numbers; a renderer behind us may do that.
  for (const std::string_view number :
       {"0.0000000001e-2147483639", "1e-2147483648", "1E-100000", "-1e-99999999999999999999"}) {
    EXPECT_FALSE(DecodeWith("\"data\":{\"n\":[" + std::string(number) + "]}")) << number;
    EXPECT_EQ(Why(), (Violations{{"/data", "the number \"" + std::string(number) + "\" is beyond any double"}}));
  }
  for (const std::string_view number : {"1e999", "-1e999", "1e99999999999999999999", "1e309", "0x10", "1.", ".5", "1e",
                                        "1e+", "-", "--1", "1_000", "00", "-01"}) {
    EXPECT_FALSE(DecodeWith("\"data\":{\"n\":" + std::string(number) + "}")) << number;
    EXPECT_EQ(Why().size(), 1u);
  }
  EXPECT_TRUE(DecodeWith("\"x\":0." + std::string(800000, '0') + "1e-99999"));
  EXPECT_FALSE(DecodeWith("\"x\":" + std::string(800000, '9')));
}

// Each of these must be refused in each field that reaches a header, an envelope or a log, raw or escaped.
TEST_F(EventDecoderTest, RefusesEveryInjectionInEveryField) {
  int tried = 0;
  for (const std::string& injection : Injections()) {
    std::string escaped;  // every ASCII character as \u00XX, other bytes raw
    for (const char c : injection) {
      if (static_cast<unsigned char>(c) < 0x80) {
        char buffer[8];
        std::snprintf(buffer, sizeof buffer, "\\u%04x", static_cast<unsigned>(c));
        escaped += buffer;
      } else {
        escaped += c;
      }
    }
    for (const std::string& text : {injection, escaped}) {
      for (
          const std::string& event : {
              R"({"message":{"to":"a@b","template":"t","subject":"Hi)" + text + "\"}}",
              R"({"message":{"to":"a@b","template":"t","subject":")" + text + "Hi\"}}",
              R"({"message":{"to":"a@b","template":"t","id":"i)" + text + "\"}}",
              R"({"message":{"to":"a@b","template":"t","id":")" + text + "i\"}}",
              R"({"message":{"to":"a@b","template":"t)" + text + "\"}}",
              R"({"message":{"to":"a@b","template":")" + text + "t\"}}",
              R"({"message":{"to":"a@b)" + text + "\",\"template\":\"t\"}}",
              R"({"message":{"to":"a)" + text + "@b\",\"template\":\"t\"}}",
              R"({"message":{"to":"N)" + text + "n <a@b>\",\"template\":\"t\"}}",
              R"({"message":{"to":["a@b","c@d)" + text + "\"],\"template\":\"t\"}}",
              R"({"message":{"to":["a@b","c@d <)" + text + ">\"],\"template\":\"t\"}}",
              R"({"message":{"to":"a@b","template":"t","from":"c@d)" + text + "\"}}",
              R"({"message":{"to":"a@b","template":"t","from":"N)" + text + "n <c@d>\"}}",
              R"({"message":{"to":"a@b","template":"t","priority":"high)" + text + "\"}}",
              R"({"message":{"to":"a@b","template":"t","timestamp":"2025-12-25T20:00:00Z)" + text + "\"}}",
              R"({"type":"t)" + text + R"(","message":{"to":"a@b","template":"t"}})",
              R"({"message":{"to":"a@b","template":"t","cc":"N)" + text + "n <c@d>\"}}",
              R"({"message":{"to":"a@b","template":"t","bcc":["c@d)" + text + "\"]}}",
              R"({"message":{"to":"a@b","template":"t","reply_to":"c)" + text + "@d\"}}",
              R"({"message":{"to":"a@b","template":"t","headers":{"X-A":"v)" + text + "v\"}}}",
              R"({"message":{"to":"a@b","template":"t","headers":{"X-A)" + text + "\":\"v\"}}}",
              R"({"message":{"to":"a@b","template":"t","tags":["t)" + text + "\"]}}",
              R"({"message":{"to":"a@b","template":"t","metadata":{"k":"v)" + text + "v\"}}}",
              R"({"message":{"to":"a@b","template":"t","metadata":{"k)" + text + "\":\"v\"}}}",
              R"({"message":{"to":"a@b","template":"t","attachments":[{"content":"QUJD","filename":"f)" + text +
                  "f\"}]}}",
              R"({"message":{"to":"a@b","template":"t","attachments":[{"content":"QUJD","filename":"f","content_type":"a/b)" +
                  text + "\"}]}}",
              R"({"message":{"to":"a@b","template":"t","attachments":[{"content":"QUJD","filename":"f","content_id":"i)" +
                  text + "\"}]}}",
              R"({"message":{"to":"a@b","template":"t","attachments":[{"filename":"f","content":"QUJD)" + text +
                  "\"}]}}",
          }) {
        ++tried;
        EXPECT_FALSE(Decode(event)) << ::testing::PrintToString(event);
        for (const auto& [pointer, detail] : Why()) {
          EXPECT_EQ(HeaderTextProblem(pointer), nullptr);
          EXPECT_EQ(HeaderTextProblem(detail) != nullptr && detail.find("%0") == std::string::npos, false) << detail;
        }
      }
    }
  }
  EXPECT_GE(tried, 50 * 28);
}

TEST_F(EventDecoderTest, HtmlAndTextInsteadOfATemplate) {
  auto with = [](std::string_view members) { return R"({"message":{"to":"a@b",)" + std::string(members) + "}}"; };
  for (const std::string_view zero :
       {"", R"(,"template":"","data":{})", R"(,"template":null,"data":null)", R"(,"data":{ })"}) {
    ASSERT_TRUE(Decode(
        with(R"("subject":"s","html":"<p>Gr\u00fc\u00dfe\r\n","text":"Gr\u00fc\u00dfe\n")" + std::string(zero))));
    EXPECT_EQ(event_.template_name, "");
    EXPECT_EQ(event_.html, "<p>Grüße\r\n");
    EXPECT_EQ(event_.text, "Grüße\n");
  }
  ASSERT_TRUE(Decode(with(R"("subject":"s","html":"<p>")")));
  EXPECT_EQ(event_.text, "");
  ASSERT_TRUE(Decode(with(R"("subject":"s","text":"x","html":"")")));
  EXPECT_EQ(event_.html, "");
  EXPECT_EQ(event_.text, "x");

  EXPECT_FALSE(Decode(with(R"("subject":"s","html":"","text":null)")));
  EXPECT_EQ(
      Why(),
      (Violations{{"/template", "template is missing: the name of a template; or give html, text or both instead"}}));
  for (const std::string_view both : {R"("template":"t","html":"<p>")", R"("text":"x","template":"t")"}) {
    EXPECT_FALSE(Decode(with(R"("subject":"s",)" + std::string(both))));
    EXPECT_EQ(
        Why(),
        (Violations{{"/template", "template is given beside html or text: a mail is made of one or of the others"}}));
  }
  EXPECT_FALSE(Decode(with(R"("text":"x","subject":"")")));
  EXPECT_EQ(Why(), (Violations{{"/subject", "subject is missing: without a template nothing else gives one"}}));
  EXPECT_FALSE(Decode(with(R"("subject":"s","text":"Hello {{Name}}","data":{"Name":"A"})")));
  EXPECT_EQ(Why(), (Violations{{"/data", "data is for a template; html and text are sent as they are"}}));
  EXPECT_FALSE(Decode(with(R"("subject":"s","html":["<p>"],"text":1)")));
  EXPECT_EQ(Why(), (Violations{{"/html", "html must be a string"}, {"/text", "text must be a string"}}));
  EXPECT_FALSE(Decode(with(R"("subject":"s","html":"a\u0000b")")));
  EXPECT_EQ(Why(), (Violations{{"/html", "a string has U+0000 in it"}}));
}

TEST_F(EventDecoderTest, CcBccAndReplyTo) {
  ASSERT_TRUE(DecodeWith(R"("cc":"Ann <c@d>","bcc":["e@f","g@h"],"reply_to":["i@j"])"));
  EXPECT_EQ(event_.cc, (std::vector<Mailbox>{{"Ann", "c@d"}}));
  EXPECT_EQ(event_.bcc, (std::vector<Mailbox>{{"", "e@f"}, {"", "g@h"}}));
  EXPECT_EQ(event_.reply_to, (std::vector<Mailbox>{{"", "i@j"}}));
  ASSERT_EQ(event_.recipient_count(), 4u);
  const std::string_view in_order[] = {"a@b", "c@d", "e@f", "g@h"};
  for (size_t i = 0; i < 4; ++i) EXPECT_EQ(event_.recipient(i).address, in_order[i]);

  ASSERT_TRUE(DecodeWith(R"("cc":[],"bcc":"","reply_to":null)"));
  EXPECT_TRUE(event_.cc.empty() && event_.bcc.empty() && event_.reply_to.empty());
  EXPECT_FALSE(DecodeWith(R"("cc":["x",1],"bcc":{},"reply_to":["y",["z@z"]])"));
  EXPECT_EQ(Why(), (Violations{{"/cc/0", "\"x\" is not an address (RFC 5322 addr-spec)"},
                               {"/cc/1", "an address must be a string"},
                               {"/bcc", "bcc must be a string or a list of strings"},
                               {"/reply_to/0", "\"y\" is not an address (RFC 5322 addr-spec)"},
                               {"/reply_to/1", "an address must be a string"}}));
}

TEST_F(EventDecoderTest, AtMost50RecipientsInAll) {
  auto list = [](int count) {
    std::string json = "[";
    for (int i = 0; i < count; ++i) json += i > 0 ? R"(,"a@b")" : R"("a@b")";
    return json + "]";
  };
  EXPECT_TRUE(DecodeWith("\"cc\":" + list(24) + ",\"bcc\":" + list(25) + ",\"reply_to\":" + list(50)));
  EXPECT_EQ(event_.recipient_count(), 50u);
  EXPECT_FALSE(DecodeWith("\"cc\":" + list(25) + ",\"bcc\":" + list(25)));
  EXPECT_EQ(Why(), (Violations{{"/bcc", "to, cc and bcc have 51 recipients together; at most 50 are allowed"}}));
  EXPECT_FALSE(DecodeWith("\"cc\":" + list(50)));
  EXPECT_EQ(Why(), (Violations{{"/cc", "to, cc and bcc have 51 recipients together; at most 50 are allowed"}}));
  EXPECT_FALSE(DecodeWith("\"reply_to\":" + list(51)));
  EXPECT_EQ(Why(), (Violations{{"/reply_to", "reply_to has 51 addresses; at most 50 are allowed"}}));
}

TEST_F(EventDecoderTest, Headers) {
  ASSERT_TRUE(DecodeWith(
      R"("headers":{"List-Unsubscribe":" <https://x.example/u?a=%20b>, <mailto:u@x.example> ","X-A_1":"Gr\u00fc\u00dfe\tx","X-N":null,"X-E":" "})"));
  EXPECT_EQ(event_.headers,
            (std::vector<NamedText>{{"List-Unsubscribe", "<https://x.example/u?a=%20b>, <mailto:u@x.example>"},
                                    {"X-A_1", "Grüße\tx"}}));
  for (const std::string_view none : {"{}", "null", R"("")"}) {
    ASSERT_TRUE(DecodeWith("\"headers\":" + std::string(none)));
    EXPECT_TRUE(event_.headers.empty());
  }
  EXPECT_FALSE(DecodeWith(R"("headers":["X-A: b"])"));
  EXPECT_EQ(Why(), (Violations{{"/headers", "headers must be an object of strings"}}));
  EXPECT_FALSE(DecodeWith(R"("headers":{"X-A":1,"X-B":["b"],"X-C":{"X-D":"e"},"x-a":"v","X A":"v","":"v","X:":"v"})"));
  EXPECT_EQ(Why(), (Violations{{"/headers/X-A", "a value of headers must be a string"},
                               {"/headers/X-B", "a value of headers must be a string"},
                               {"/headers/X-C", "a value of headers must be a string"},
                               {"/headers/X A", "\"X A\" is not a header's name: 1 to 76 of A-Z a-z 0-9 - _"},
                               {"/headers/", "\"\" is not a header's name: 1 to 76 of A-Z a-z 0-9 - _"},
                               {"/headers/X:", "\"X:\" is not a header's name: 1 to 76 of A-Z a-z 0-9 - _"}}));
  EXPECT_FALSE(DecodeWith(R"("headers":{"X-A":"1","x-a":"2"})"));
  EXPECT_EQ(Why(), (Violations{{"/headers/x-a", "\"x-a\" is given twice"}}));
  EXPECT_TRUE(DecodeWith("\"headers\":{\"X-A\":\"" + std::string(993, 'v') + "\"}"));
  EXPECT_FALSE(DecodeWith("\"headers\":{\"X-A\":\"" + std::string(994, 'v') + "\"}"));
  EXPECT_EQ(Why(), (Violations{{"/headers/X-A", "\"X-A\" has 999 bytes with its name; at most 998 are allowed"}}));
  EXPECT_FALSE(DecodeWith("\"headers\":{\"" + std::string(77, 'X') + "\":\"v\"}"));
  std::string many = "\"headers\":{";
  for (int i = 0; i < 51; ++i) many += (i > 0 ? ",\"X-" : "\"X-") + std::to_string(i) + "\":\"v\"";
  EXPECT_FALSE(DecodeWith(many + "}"));
  EXPECT_EQ(Why(), (Violations{{"/headers", "headers has 51 entries; at most 50 are allowed"}}));
}

TEST_F(EventDecoderTest, HeadersThatAreNotTheProducersAreRefusedByName) {
  const std::pair<std::string, std::string> owned[] = {
      {"From", "is the field from of the message"},
      {"to", "is the field to of the message"},
      {"CC", "is the field cc of the message"},
      {"bCC", "is the field bcc of the message"},
      {"Reply-to", "is the field reply_to of the message"},
      {"SUBJECT", "is the field subject of the message"},
      {"Date", "is the field timestamp of the message"},
  };
  for (const auto& [name, detail] : owned) {
    EXPECT_FALSE(DecodeWith("\"headers\":{\"" + name + "\":\"v\"}"));
    EXPECT_EQ(Why(), (Violations{{"/headers/" + name, "\"" + name + "\" " + detail}}));
  }
  for (const std::string name :
       {"Sender", "Message-ID", "message-id", "Mime-Version", "Received", "Return-Path", "DKIM-Signature",
        "DomainKey-Signature", "Delivered-To", "Auto-Submitted", "Authentication-Results", "Content-Type", "content-",
        "CONTENT-ID", "Resent-To", "ARC-Seal", "X-Postbus-Original-To"}) {
    EXPECT_FALSE(DecodeWith("\"headers\":{\"" + name + "\":\"v\"}"));
    EXPECT_EQ(
        Why(),
        (Violations{{"/headers/" + name, "\"" + name + "\" is written by postbus and by the servers on the way"}}));
  }
  EXPECT_TRUE(DecodeWith(
      R"("headers":{"X-From":"v","To-Do":"v","References":"<a@b>","In-Reply-To":"<a@b>","Contents":"v","List-Unsubscribe-Post":"List-Unsubscribe=One-Click"})"));
}

TEST_F(EventDecoderTest, TagsAndMetadata) {
  ASSERT_TRUE(
      DecodeWith(R"("tags":["welcome","Gr\u00fc\u00dfe"],"metadata":{"order":"7","Order":"","user id":"u/1"})"));
  EXPECT_EQ(event_.tags, (std::vector<std::string>{"welcome", "Grüße"}));
  EXPECT_EQ(event_.metadata, (std::vector<NamedText>{{"order", "7"}, {"user id", "u/1"}}));
  ASSERT_TRUE(DecodeWith(R"("tags":[],"metadata":{})"));
  EXPECT_TRUE(event_.tags.empty() && event_.metadata.empty());
  EXPECT_FALSE(DecodeWith("\"tags\":[\"\",1,\"" + std::string(129, 't') +
                          R"(",["x"],null],"metadata":{"":"x","a":1,"b":{"c":"d"}})"));
  EXPECT_EQ(Why(), (Violations{{"/tags/0", "a tag must be a string of 1 to 128 bytes"},
                               {"/tags/1", "a tag must be a string of 1 to 128 bytes"},
                               {"/tags/2", "a tag must be a string of 1 to 128 bytes"},
                               {"/tags/3", "a tag must be a string of 1 to 128 bytes"},
                               {"/tags/4", "a tag must be a string of 1 to 128 bytes"},
                               {"/metadata/", "\"\" is not a name of metadata: 1 to 64 bytes, no control character"},
                               {"/metadata/a", "a value of metadata must be a string"},
                               {"/metadata/b", "a value of metadata must be a string"}}));
  EXPECT_FALSE(DecodeWith(R"("tags":"x","metadata":[])"));
  EXPECT_EQ(Why(), (Violations{{"/tags", "tags must be a list of strings"},
                               {"/metadata", "metadata must be an object of strings"}}));
  EXPECT_FALSE(DecodeWith(R"("tags":["1","2","3","4","5","6","7","8","9","10","11"])"));
  EXPECT_EQ(Why(), (Violations{{"/tags", "tags has 11 entries; at most 10 are allowed"}}));
  EXPECT_FALSE(DecodeWith("\"metadata\":{\"a\":\"" + std::string(513, 'v') + R"(","a":"b"})"));
  EXPECT_EQ(Why(), (Violations{{"/metadata/a", "\"a\" has 513 bytes; at most 512 are allowed"}}));
}

TEST_F(EventDecoderTest, Attachments) {
  ASSERT_TRUE(DecodeWith(
      R"("attachments" : [ {"filename":"Gr\u00fc\u00dfe.PDF","content" : "QUJD"},{"content":"QUI=","filename":"logo","content_type":"image/png","content_id":"logo@1"},)"
      R"({"content_id":"","content_type":null,"filename":"x.ics","content":"Pz8\/Kys=","other":[{"filename":1}]}])"));
  ASSERT_EQ(event_.attachments.size(), 3u);
  EXPECT_EQ(event_.attachments[0].filename, "Grüße.PDF");
  EXPECT_EQ(event_.attachments[0].content_type, "application/pdf");
  EXPECT_EQ(event_.attachments[0].content_id, "");
  EXPECT_EQ(At(text_, event_.attachments[0].content), "QUJD");
  EXPECT_EQ(event_.attachments[1].content_type, "image/png");
  EXPECT_EQ(event_.attachments[1].content_id, "logo@1");
  std::string scratch;
  EXPECT_EQ(AttachmentBase64(text_, event_.attachments[1], scratch).data(),
            text_.data() + event_.attachments[1].content.offset);  // no copy
  EXPECT_EQ(event_.attachments[2].content_type, "text/calendar");
  EXPECT_EQ(AttachmentBase64(text_, event_.attachments[2], scratch), "Pz8/Kys=");
  ASSERT_TRUE(DecodeWith(R"("attachments":[{"filename":"a","content":"\u0051\u003d\u003D\/"}])") == false);
  ASSERT_TRUE(DecodeWith(R"("attachments":[{"filename":"a","content":"\u0051\/\u003d\u003D"}])"));
  EXPECT_EQ(AttachmentBase64(text_, event_.attachments[0], scratch), "Q/==");
  EXPECT_EQ(event_.attachments[0].content_type, "application/octet-stream");
}

TEST_F(EventDecoderTest, AttachmentsThatAreRefused) {
  auto why = [&](std::string_view attachments, Strictness strictness = Strictness::kQueue) {
    EXPECT_FALSE(DecodeWith("\"attachments\":" + std::string(attachments), strictness)) << attachments;
    return Why();
  };
  EXPECT_EQ(why("{}"), (Violations{{"/attachments", "attachments must be a list of objects"}}));
  EXPECT_EQ(why(R"(["a",{},[{"filename":"x"}]])"),
            (Violations{{"/attachments/0", "an attachment must be an object"},
                        {"/attachments/1/filename", "filename is missing"},
                        {"/attachments/1/content", "content is missing: the file in base64"},
                        {"/attachments/2", "an attachment must be an object"}}));
  EXPECT_EQ(why(R"([{"filename":1,"content":{"a":"QUJD"},"content_type":[],"content_id":true}])"),
            (Violations{{"/attachments/0/filename", "filename must be a string"},
                        {"/attachments/0/content", "content must be a string"},
                        {"/attachments/0/content_type", "content_type must be a string"},
                        {"/attachments/0/content_id", "content_id must be a string"}}));
  EXPECT_EQ(why(R"([{"filename":"a","content":"QUJD","filename":"b"}])"),
            (Violations{{"/attachments/0/filename", "filename is given twice"}}));
  EXPECT_EQ(
      why(R"([{"filename":"a","content":"QUJD","contentType":"a/b","x":1}])", Strictness::kApi),
      (Violations{{"/attachments/0/contentType", "unknown field \"contentType\"; did you mean \"content_type\"?"},
                  {"/attachments/0/x", "unknown field \"x\"; known are filename, content, content_type, content_id"}}));
  for (const std::string_view content :
       {"A", "QQ=", "QQ", "=QQQ", "Q===", "QQ=Q", "QU JD", R"(QUJD\nQUJD)", "QU-_", "QUJD====", "QUI=QUI="}) {
    EXPECT_EQ(why(R"([{"filename":"a","content":")" + std::string(content) + "\"}]"),
              (Violations{{"/attachments/0/content",
                           "content is not base64 (RFC 4648 section 4: + and /, padded with =, no line breaks)"}}))
        << content;
  }
  for (const std::string_view name : {"a/b.pdf", R"(C:\\b.pdf)", R"(a\tb)", "../x"}) {
    EXPECT_EQ(why(R"([{"content":"QUJD","filename":")" + std::string(name) + "\"}]").size(), 1u) << name;
  }
  EXPECT_EQ(why(R"([{"content":"QUJD","filename":"a/b.pdf"}])"),
            (Violations{{"/attachments/0/filename", "\"a/b.pdf\" is not a file's name: without folders, please"}}));
  EXPECT_EQ(why(R"([{"content":"QUJD","filename":")" + std::string(256, 'x') + "\"}]"),
            (Violations{{"/attachments/0/filename", "filename has 256 bytes; at most 255 are allowed"}}));
  for (const std::string_view type : {"pdf", "application/", "/pdf", "a/b;", "a/b; c", "a/b; c=", "a/b c=d",
                                      "a/b;c=\\\"d", "a/ü", "a/b; charset=utf 8"}) {
    EXPECT_EQ(why(R"([{"content":"QUJD","filename":"a","content_type":")" + std::string(type) + "\"}]"),
              (Violations{{"/attachments/0/content_type",
                           (type == "a/b;c=\\\"d" ? "\"a/b;c=\"d\"" : "\"" + std::string(type) + "\"") +
                               " is not a media type, such as application/pdf or text/csv; charset=utf-8"}}))
        << type;
  }
  for (const std::string_view type : {"multipart/mixed", "Message/rfc822"}) {
    EXPECT_EQ(
        why(R"([{"content":"QUJD","filename":"a","content_type":")" + std::string(type) + "\"}]"),
        (Violations{{"/attachments/0/content_type",
                     "\"" + std::string(type) + "\" cannot be attached (RFC 2046 5); application/octet-stream can"}}));
  }
  for (const std::string_view id : {"<logo>", "a b", "ü", "a%20"}) {
    EXPECT_EQ(why(R"([{"content":"QUJD","filename":"a","content_id":")" + std::string(id) + "\"}]").at(0).first,
              "/attachments/0/content_id");
  }
  EXPECT_EQ(
      why(R"([{"content":"QUJD","filename":"a","content_id":"x"},{"content":"QUJD","filename":"b","content_id":"x"}])"),
      (Violations{{"/attachments/1/content_id", "\"x\" is another attachment's content_id, too"}}));
  std::string many = "[";
  for (int i = 0; i < 51; ++i) many += std::string(i > 0 ? "," : "") + R"({"filename":"a","content":"QUJD"})";
  EXPECT_EQ(why(many + "]"), (Violations{{"/attachments", "attachments has 51 entries; at most 50 are allowed"}}));
}

TEST_F(EventDecoderTest, MediaTypesOfAttachments) {
  for (const std::string_view type :
       {"application/pdf", "text/csv; charset=utf-8", "text/calendar;method=REQUEST; charset=\\\"utf 8\\\"",
        "application/vnd.a+b.c-d", "TEXT/Plain"}) {
    EXPECT_TRUE(
        DecodeWith(R"("attachments":[{"content":"QUJD","filename":"a","content_type":")" + std::string(type) + "\"}]"))
        << type;
  }
}

TEST_F(EventDecoderTest, LargeAttachmentsStayWhereTheyAre) {
  const std::string content(800 * 1024, 'A');
  ASSERT_TRUE(DecodeWith(R"("attachments":[{"filename":"a.bin","content":")" + content + "\"}]"));
  EXPECT_EQ(event_.attachments[0].content.size, content.size());
  EXPECT_EQ(At(text_, event_.attachments[0].content), content);
}

TEST_F(EventDecoderTest, DecodesABareMessage) {
  const std::string_view json = R"( {"to":"a@b","template":"t","data":{"a":1},"status":"x"} )";
  ASSERT_TRUE(decoder_.DecodeMessage(json, Strictness::kApi, event_));
  EXPECT_EQ(event_.type, "");
  EXPECT_EQ(event_.to[0].address, "a@b");
  EXPECT_EQ(At(json, event_.message), json.substr(1, json.size() - 2));
  EXPECT_EQ(At(json, event_.data), R"({"a":1})");
  EXPECT_EQ(At(json, event_.status), R"("x")");
  EXPECT_FALSE(decoder_.DecodeMessage("{}", Strictness::kApi, event_));
  EXPECT_EQ(
      Why(),
      (Violations{{"/to", "to is missing: an address or a list of them"},
                  {"/template", "template is missing: the name of a template; or give html, text or both instead"}}));
  EXPECT_FALSE(decoder_.DecodeMessage(kSeedExample, Strictness::kApi, event_));
  EXPECT_EQ(Why().size(), 4u);  // type and message are unknown, to and template missing
}

TEST_F(EventDecoderTest, TellsAMessageFromAnEvent) {
  for (const std::string_view json :
       {"{}", R"({"to":"a@b"})", R"({"data":{"message":1}})", R"({"subject":"message","to":"a@b"})",
        R"({"a":["message",{"message":1}]})", R"({"a":"\"message\":{"})", "{\"a\":\"x\\\\\"}", " \n{ \"to\" : 1}",
        R"({"to":")", R"({"message")"}) {
    EXPECT_TRUE(EventDecoder::LooksLikeMessage(json)) << json;
  }
  for (const std::string_view json : {"", " ", "[]", "1", "x", "\"message\"", R"([{"to":"a@b"}])", R"({"message":{}})",
                                      R"({"type":"x", "message" : {}})", R"({"data":{"a":[{}]},"message":1)",
                                      R"({"a":"\\","message":{}})", R"({"a":"\"","message":{}})", R"({"message":)"}) {
    EXPECT_FALSE(EventDecoder::LooksLikeMessage(json)) << json;
  }
  EXPECT_FALSE(EventDecoder::LooksLikeMessage(kSeedExample));
}

}  // namespace
}  // namespace postbus
