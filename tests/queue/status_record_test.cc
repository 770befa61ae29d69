#include "queue/status_record.h"

#include <gtest/gtest.h>

#include <vector>

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
                                                    {Change::kExpired, "\"expired\",\"status\":\"failed\""},
                                                    {Change::kCancelled, "\"cancelled\",\"status\":\"failed\""}};
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

StatusRecord ChangeOf(Change change, RecipientSet recipients) {
  StatusRecord record;
  record.id = "i";
  record.change = change;
  record.recipients = recipients;
  return record;
}

TEST(StatusRecord, AnEndWithoutAMailMustNotGetLost) {
  for (const Change change : {Change::kDeadLettered, Change::kExpired, Change::kCancelled}) {
    EXPECT_TRUE(IsEndWithoutMail(change)) << ChangeName(change);
  }
  for (const Change change : {Change::kQueued, Change::kScheduled, Change::kDeferred, Change::kSent}) {
    EXPECT_FALSE(IsEndWithoutMail(change)) << ChangeName(change);
  }
}

TEST(StatusRecord, AMailMayBeCancelledWhileItWaitsForARecipient) {
  const StatusRecord queued = ChangeOf(Change::kQueued, RecipientSet::All(2));
  std::vector<StatusRecord> history = {queued};
  EXPECT_TRUE(MayBeCancelled(history).ok());
  for (const Change waits : {Change::kScheduled, Change::kDeferred}) {
    EXPECT_TRUE(MayBeCancelled(std::vector{queued, ChangeOf(waits, RecipientSet::All(2))}).ok());
  }
  history.push_back(ChangeOf(Change::kSent, RecipientSet{0b01}));
  EXPECT_TRUE(MayBeCancelled(history).ok()) << "the second one waits";
  history.push_back(ChangeOf(Change::kCancelled, RecipientSet{0b10}));
  EXPECT_TRUE(MayBeCancelled(history).ok()) << "again";
}

TEST(StatusRecord, AMailThatIsOverMayNotBeCancelled) {
  const StatusRecord queued = ChangeOf(Change::kQueued, RecipientSet::All(2));
  for (const Change end : {Change::kSent, Change::kDeadLettered, Change::kExpired}) {
    const Status may = MayBeCancelled(std::vector{queued, ChangeOf(end, RecipientSet::All(2))});
    ASSERT_FALSE(may.ok());
    EXPECT_EQ(may.kind(), ErrorKind::kConflict);
    EXPECT_NE(may.message().find(ChangeName(end)), std::string_view::npos) << may.message();
    EXPECT_FALSE(MayBeCancelled(std::vector{ChangeOf(end, {})}).ok()) << "recipients are not known";
  }
  EXPECT_FALSE(MayBeCancelled(std::vector{queued, ChangeOf(Change::kSent, RecipientSet{0b01}),
                                          ChangeOf(Change::kDeadLettered, RecipientSet{0b10})})
                   .ok());
  StatusRecord replayed = ChangeOf(Change::kQueued, RecipientSet{0b10});
  replayed.replay = 1;
  EXPECT_TRUE(
      MayBeCancelled(std::vector{queued, ChangeOf(Change::kDeadLettered, RecipientSet::All(2)), replayed}).ok());
}

TEST(StatusRecord, WhatWaitsForLaterIsForeseenToBeCancelled) {
  constexpr int64_t kRequested = 1'766'692'800'000;
  const StatusRecord queued = ChangeOf(Change::kQueued, RecipientSet::All(3));
  StatusRecord waits = ChangeOf(Change::kScheduled, RecipientSet::All(3));
  waits.due_unix_ms = kRequested + 30'000;
  std::vector<StatusRecord> history = {queued, waits};
  AddForeseenCancellation(kRequested, history);
  ASSERT_EQ(history.size(), 3u);
  EXPECT_EQ(history[2].id, "i");
  EXPECT_EQ(history[2].change, Change::kCancelled);
  EXPECT_EQ(history[2].recipients, RecipientSet::All(3));
  EXPECT_EQ(history[2].at_unix_ms, kRequested);
  AddForeseenCancellation(kRequested, history);
  EXPECT_EQ(history.size(), 3u) << "none is left to wait";

  // Of a partly sent mail the others.
  StatusRecord deferred = waits;
  deferred.change = Change::kDeferred;
  deferred.recipients = RecipientSet{0b010};
  history = {queued, ChangeOf(Change::kSent, RecipientSet{0b001}), deferred,
             ChangeOf(Change::kDeadLettered, RecipientSet{0b100})};
  AddForeseenCancellation(kRequested, history);
  ASSERT_EQ(history.size(), 5u);
  EXPECT_EQ(history[4].recipients, RecipientSet{0b010});
}

TEST(StatusRecord, WhatAHostMayHaveInItsHandsIsNotForeseen) {
  constexpr int64_t kRequested = 1'766'692'800'000;
  const StatusRecord queued = ChangeOf(Change::kQueued, RecipientSet::All(1));
  StatusRecord soon = ChangeOf(Change::kScheduled, RecipientSet::All(1));
  soon.due_unix_ms = kRequested + 29'999;
  for (const std::vector<StatusRecord>& before :
       {std::vector{queued}, std::vector{queued, soon}, std::vector{queued, soon, ChangeOf(Change::kSent, {})}}) {
    std::vector<StatusRecord> history = before;
    AddForeseenCancellation(kRequested, history);
    EXPECT_EQ(history.size(), before.size());
  }
}

TEST(StatusRecord, DeepNestingDoesNotCrash) { EXPECT_FALSE(DecodeStatus(std::string(1'000'000, '[')).ok()); }

}  // namespace
}  // namespace postbus
