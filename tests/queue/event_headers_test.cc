#include "queue/event_headers.h"

#include <gtest/gtest.h>

#include <limits>

#include "event/email_event.h"
#include "queue/utf8_cut.h"

namespace postbus {
namespace {

EventHeaders Full() {
  EventHeaders headers;
  headers.id = "550e8400-e29b-41d4-a716-446655440000";
  headers.attempt = 3;
  headers.due_unix_ms = 1'700'000'000'123;
  headers.accepted_at_unix_ms = 1'699'999'999'999;
  headers.recipients.insert(0);
  headers.recipients.insert(2);
  headers.recipients.insert(49);
  headers.origin = {"email-queue-high", 7, 123'456'789'012};
  headers.outcome_class = "transient";
  headers.replay = 2;
  headers.traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
  return headers;
}

void ExpectEqual(const EventHeaders& a, const EventHeaders& b) {
  EXPECT_EQ(a.format, b.format);
  EXPECT_EQ(a.id, b.id);
  EXPECT_EQ(a.attempt, b.attempt);
  EXPECT_EQ(a.due_unix_ms, b.due_unix_ms);
  EXPECT_EQ(a.accepted_at_unix_ms, b.accepted_at_unix_ms);
  EXPECT_EQ(a.recipients, b.recipients);
  EXPECT_EQ(a.origin.topic, b.origin.topic);
  EXPECT_EQ(a.origin.partition, b.origin.partition);
  EXPECT_EQ(a.origin.offset, b.origin.offset);
  EXPECT_EQ(a.outcome_class, b.outcome_class);
  EXPECT_EQ(a.replay, b.replay);
  EXPECT_EQ(a.traceparent, b.traceparent);
}

// The names, the order and the text forms are a contract with other versions: spelt out, not derived.
TEST(EventHeaders, EncodesTheDocumentedText) {
  HeaderList list;
  EncodeHeaders(Full(), list);
  const HeaderList expected = {{"postbus-fmt", "1"},
                               {"postbus-id", "550e8400-e29b-41d4-a716-446655440000"},
                               {"postbus-attempt", "3"},
                               {"postbus-due", "1700000000123"},
                               {"postbus-accepted-at", "1699999999999"},
                               {"postbus-rcpt", "0,2,49"},
                               {"postbus-origin", "email-queue-high/7/123456789012"},
                               {"postbus-class", "transient"},
                               {"postbus-replay", "2"},
                               {"traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}};
  EXPECT_EQ(list, expected);
}

TEST(EventHeaders, LeavesAbsentOnesOut) {
  HeaderList list = {{"other", "kept"}};
  EncodeHeaders({}, list);
  const HeaderList expected = {{"other", "kept"}, {"postbus-fmt", "1"}};
  EXPECT_EQ(list, expected);
}

TEST(EventHeaders, AZeroOffsetIsAnOrigin) {
  EventHeaders headers;
  headers.origin = {"t", 0, 0};
  HeaderList list;
  EncodeHeaders(headers, list);
  ASSERT_EQ(list.size(), 2u);
  EXPECT_EQ(list[1].second, "t/0/0");
}

TEST(EventHeaders, DecodesWhatItEncodes) {
  HeaderList list;
  EncodeHeaders(Full(), list);
  EventHeaders decoded;
  for (const auto& [name, value] : list) ASSERT_TRUE(DecodeHeader(name, value, decoded).ok()) << name;
  ExpectEqual(decoded, Full());
}

TEST(EventHeaders, AllRecipientsRoundTrip) {
  EventHeaders headers;
  headers.recipients = RecipientSet::All(50);
  Result<EventHeaders> back = HeadersFromText(HeadersToText(headers));
  ASSERT_TRUE(back.ok());
  EXPECT_EQ(back->recipients, RecipientSet::All(50));
}

TEST(EventHeaders, IgnoresUnknownNames) {
  EventHeaders headers;
  EXPECT_TRUE(DecodeHeader("postbus-later", "\xff", headers).ok());
  EXPECT_TRUE(DecodeHeader("", "", headers).ok());
  ExpectEqual(headers, {});
}

TEST(EventHeaders, RefusesValuesThatDoNotParse) {
  const std::pair<const char*, const char*> bad[] = {
      {"postbus-fmt", ""},          {"postbus-fmt", "0"},
      {"postbus-fmt", "one"},       {"postbus-id", ""},
      {"postbus-id", "a b"},        {"postbus-id", "a\r\nb"},
      {"postbus-attempt", "-1"},    {"postbus-attempt", "+1"},
      {"postbus-attempt", " 1"},    {"postbus-attempt", "1x"},
      {"postbus-attempt", ""},      {"postbus-attempt", "99999999999"},
      {"postbus-due", "1.5"},       {"postbus-due", "99999999999999999999"},
      {"postbus-accepted-at", "x"}, {"postbus-replay", "-2"},
      {"postbus-rcpt", "0,"},       {"postbus-rcpt", ",0"},
      {"postbus-rcpt", "0,,1"},     {"postbus-rcpt", "64"},
      {"postbus-rcpt", "a"},        {"postbus-rcpt", "-1"},
      {"postbus-origin", ""},       {"postbus-origin", "t"},
      {"postbus-origin", "t/1"},    {"postbus-origin", "/1/2"},
      {"postbus-origin", "t/1/"},   {"postbus-origin", "t/-1/2"},
      {"postbus-origin", "t/1/-2"}, {"postbus-origin", "a b/1/2"},
      {"postbus-origin", "/"},      {"postbus-class", "a\nb"},
  };
  for (const auto& [name, value] : bad) {
    EventHeaders headers;
    const Status status = DecodeHeader(name, value, headers);
    EXPECT_FALSE(status.ok()) << name << " = " << value;
    EXPECT_NE(status.message().find(name), std::string_view::npos) << status.message();
    ExpectEqual(headers, {});
  }
}

TEST(EventHeaders, AnEmptyRecipientListMeansAll) {
  EventHeaders headers;
  EXPECT_TRUE(DecodeHeader("postbus-rcpt", "", headers).ok());
  EXPECT_TRUE(headers.recipients.empty());
}

TEST(EventHeaders, ABrokenTraceIsIgnored) {
  EventHeaders headers;
  EXPECT_TRUE(DecodeHeader("traceparent", "a\r\nb", headers).ok());
  EXPECT_TRUE(DecodeHeader("traceparent", std::string(513, 'a'), headers).ok());
  EXPECT_EQ(headers.traceparent, "");
}

// A rollback must stop at such a record, not dead-letter it because of headers it does not understand.
TEST(EventHeaders, ALargerFormatIsKeptAndTheRestNotJudged) {
  EventHeaders headers;
  ASSERT_TRUE(DecodeHeader("postbus-fmt", "2", headers).ok());
  EXPECT_EQ(headers.format, 2);
  EXPECT_TRUE(DecodeHeader("postbus-attempt", "three", headers).ok());
  EXPECT_EQ(headers.attempt, 0);
}

TEST(EventHeaders, CutsLongTextAtACharacter) {
  EventHeaders headers;
  headers.outcome_class = std::string(511, 'a') + "\xC3\xA4";  // the last character would cross the limit
  HeaderList list;
  EncodeHeaders(headers, list);
  EXPECT_EQ(list[1].second, std::string(511, 'a'));
}

TEST(EventHeaders, TextFormRoundTrips) {
  const std::string text = HeadersToText(Full());
  EXPECT_EQ(text.substr(0, 65), "postbus-fmt:1\npostbus-id:550e8400-e29b-41d4-a716-446655440000\npos");
  Result<EventHeaders> back = HeadersFromText(text);
  ASSERT_TRUE(back.ok()) << back.status().message();
  ExpectEqual(*back, Full());
  Result<EventHeaders> empty = HeadersFromText("");
  ASSERT_TRUE(empty.ok());
  ExpectEqual(*empty, {});
}

TEST(EventHeaders, TextFormNeverGainsALine) {
  EventHeaders headers;
  headers.outcome_class = "a\npostbus-attempt:9\r";
  Result<EventHeaders> back = HeadersFromText(HeadersToText(headers));
  ASSERT_TRUE(back.ok());
  EXPECT_EQ(back->attempt, 0);
  EXPECT_EQ(back->outcome_class, "a postbus-attempt:9 ");
}

TEST(EventHeaders, RefusesBrokenTextForms) {
  EXPECT_FALSE(HeadersFromText("postbus-fmt").ok());
  EXPECT_FALSE(HeadersFromText("postbus-fmt\n").ok());
  EXPECT_FALSE(HeadersFromText("postbus-fmt:1\npostbus-attempt:1").ok());  // cut off: the last line may lack digits
  EXPECT_FALSE(HeadersFromText("postbus-attempt:x\n").ok());
}

TEST(Origin, DerivedIdIsAValidId) {
  EXPECT_EQ((Origin{"email-queue", 3, 42}).DerivedId(), "email-queue.3.42");
  const int32_t partition = std::numeric_limits<int32_t>::max();
  const int64_t offset = std::numeric_limits<int64_t>::max();
  const std::string high = Origin{std::string(244, 't') + "-high", partition, offset}.DerivedId();
  const std::string low = Origin{std::string(244, 't') + "-low", partition, offset}.DerivedId();
  EXPECT_TRUE(IsValidId(high)) << high;
  EXPECT_NE(high, low);
}

TEST(RecipientSet, HoldsIndexes) {
  RecipientSet set = RecipientSet::All(3);
  EXPECT_EQ(set.size(), 3);
  set.erase(1);
  EXPECT_TRUE(set.contains(0));
  EXPECT_FALSE(set.contains(1));
  EXPECT_EQ(RecipientSet::All(64).size(), 64);
  EXPECT_TRUE(RecipientSet::All(0).empty());
}

TEST(CutUtf8, NeverSplitsACharacter) {
  const std::string text = "a\xC3\xA4\xE2\x82\xAC\xF0\x9F\x98\x80z";  // a ä € 😀 z: ends after 1, 3, 6, 10, 11 bytes
  const size_t expected[] = {0, 1, 1, 3, 3, 3, 6, 6, 6, 6, 10, 11, 11};
  for (size_t max = 0; max < std::size(expected); ++max) EXPECT_EQ(CutUtf8(text, max).size(), expected[max]) << max;
  EXPECT_EQ(CutUtf8(std::string(10, '\x80'), 5).size(), 5u);  // no UTF-8: cut anywhere
}

}  // namespace
}  // namespace postbus
