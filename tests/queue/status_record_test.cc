#include "queue/status_record.h"

#include <gtest/gtest.h>

namespace postbus {
namespace {

StatusRecord Full() {
  StatusRecord record;
  record.id = "id-1";
  record.change = Change::kDeferred;
  record.recipients.insert(0);
  record.recipients.insert(49);
  record.at_unix_ms = 1'700'000'000'123;
  record.attempt = 2;
  record.replay = 1;
  record.due_unix_ms = 1'700'000'030'000;
  record.transport = "primary";
  record.outcome = "transient";
  record.code = 421;
  record.enhanced = "4.2.1";
  record.text = "try \"later\"\r\n";
  record.provider_id = "4F2";
  record.recipient_hashes = {0x0123456789abcdef, 0xfedcba9876543210};
  return record;
}

// Other programs read these records: spelt out, not derived.
TEST(StatusRecord, EncodesTheDocumentedJson) {
  std::string json = "before ";
  EncodeStatus(Full(), json);
  EXPECT_EQ(json,
            "before {\"v\":1,\"id\":\"id-1\",\"event\":\"deferred\",\"status\":\"pending\",\"rcpt\":[0,49],"
            "\"to\":[\"0123456789abcdef\",\"fedcba9876543210\"],\"at\":1700000000123,\"attempt\":2,\"replay\":1,"
            "\"due\":1700000030000,\"transport\":\"primary\","
            "\"outcome\":\"transient\",\"code\":421,\"enhanced\":\"4.2.1\",\"text\":\"try \\\"later\\\"\\r\\n\","
            "\"provider_id\":\"4F2\"}");
}

TEST(StatusRecord, LeavesAbsentFieldsOut) {
  StatusRecord record;
  record.id = "id-1";
  record.at_unix_ms = 5;
  std::string json;
  EncodeStatus(record, json);
  EXPECT_EQ(json, "{\"v\":1,\"id\":\"id-1\",\"event\":\"queued\",\"status\":\"pending\",\"at\":5}");
}

TEST(StatusRecord, NamesEveryChange) {
  const std::pair<Change, std::string> changes[] = {{Change::kQueued, "\"queued\",\"status\":\"pending\""},
                                                    {Change::kSent, "\"sent\",\"status\":\"sent\""},
                                                    {Change::kDeferred, "\"deferred\",\"status\":\"pending\""},
                                                    {Change::kDeadLettered, "\"dead_lettered\",\"status\":\"failed\""},
                                                    {Change::kScheduled, "\"scheduled\",\"status\":\"pending\""},
                                                    {Change::kExpired, "\"expired\",\"status\":\"failed\""}};
  for (const auto& [change, expected] : changes) {
    StatusRecord record;
    record.id = "i";
    record.change = change;
    std::string json;
    EncodeStatus(record, json);
    EXPECT_NE(json.find("\"event\":" + expected), std::string::npos) << json;
    Result<StatusRecord> back = DecodeStatus(json);
    ASSERT_TRUE(back.ok());
    EXPECT_EQ(back->change, change);
  }
  EXPECT_EQ(ChangeName(Change::kDeadLettered), "dead_lettered");
}

TEST(StatusRecord, DecodesWhatItEncodes) {
  std::string json;
  EncodeStatus(Full(), json);
  Result<StatusRecord> back = DecodeStatus(json);
  ASSERT_TRUE(back.ok()) << back.status().message();
  const StatusRecord full = Full();
  EXPECT_EQ(back->id, full.id);
  EXPECT_EQ(back->recipients, full.recipients);
  EXPECT_EQ(back->at_unix_ms, full.at_unix_ms);
  EXPECT_EQ(back->attempt, full.attempt);
  EXPECT_EQ(back->replay, full.replay);
  EXPECT_EQ(back->due_unix_ms, full.due_unix_ms);
  EXPECT_EQ(back->transport, full.transport);
  EXPECT_EQ(back->outcome, full.outcome);
  EXPECT_EQ(back->code, full.code);
  EXPECT_EQ(back->enhanced, full.enhanced);
  EXPECT_EQ(back->text, full.text);
  EXPECT_EQ(back->provider_id, full.provider_id);
  EXPECT_EQ(back->recipient_hashes, full.recipient_hashes);
}

TEST(StatusRecord, ReadsOneOfBeforeThereWereHashes) {
  Result<StatusRecord> back = DecodeStatus(R"({"v":1,"id":"i","event":"sent","status":"sent","rcpt":[0],"at":7})");
  ASSERT_TRUE(back.ok());
  EXPECT_EQ(back->recipients, RecipientSet::All(1));
  EXPECT_TRUE(back->recipient_hashes.empty());
}

// A server's words are bytes from outside: whatever they are, the record must stay readable.
TEST(StatusRecord, AnyBytesInTheTextStayReadable) {
  StatusRecord record;
  record.id = "i";
  record.text = std::string("\xff\xc3 \x01\0 ok", 8);
  std::string json;
  EncodeStatus(record, json);
  Result<StatusRecord> back = DecodeStatus(json);
  ASSERT_TRUE(back.ok()) << json;
  EXPECT_NE(back->text.find(" ok"), std::string::npos);
}

TEST(StatusRecord, CutsLongText) {
  StatusRecord record;
  record.id = "i";
  record.text = std::string(511, 'a') + "\xC3\xA4";
  std::string json;
  EncodeStatus(record, json);
  Result<StatusRecord> back = DecodeStatus(json);
  ASSERT_TRUE(back.ok());
  EXPECT_EQ(back->text, std::string(511, 'a'));
}

TEST(StatusRecord, IgnoresUnknownFields) {
  Result<StatusRecord> back = DecodeStatus(R"({"v":1,"id":"i","event":"sent","later":{"a":[1]},"at":7})");
  ASSERT_TRUE(back.ok());
  EXPECT_EQ(back->at_unix_ms, 7);
}

TEST(StatusRecord, RefusesWhatItDoesNotUnderstand) {
  for (const char* json :
       {"", "[]", "{", "null", R"({"v":2,"id":"i","event":"sent"})", R"({"id":"i","event":"sent"})",
        R"({"v":1,"event":"sent"})", R"({"v":1,"id":"i"})", R"({"v":1,"id":"i","event":"eaten"})",
        R"({"v":1,"id":7,"event":"sent"})", R"({"v":1,"id":"i","event":"sent","rcpt":[64]})",
        R"({"v":1,"id":"i","event":"sent","rcpt":0})", R"({"v":1,"id":"i","event":"sent","at":"now"})",
        R"({"v":1,"id":"i","event":"sent","code":1.5})", R"({"v":1,"id":"i","event":"sent","to":"0123456789abcdef"})",
        R"({"v":1,"id":"i","event":"sent","to":[7]})", R"({"v":1,"id":"i","event":"sent","to":["0123456789abcdeg"]})",
        R"({"v":1,"id":"i","event":"sent","to":["0123456789abcdef0"]})",
        "{\"v\":1,\"id\":\"\xff\",\"event\":\"sent\"}"}) {
    EXPECT_FALSE(DecodeStatus(json).ok()) << json;
  }
}

TEST(StatusRecord, DeepNestingDoesNotCrash) { EXPECT_FALSE(DecodeStatus(std::string(1'000'000, '[')).ok()); }

}  // namespace
}  // namespace postbus
