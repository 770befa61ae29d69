#include "event/email_event.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <random>
#include <set>

#include "tests/event/samples.h"

namespace postbus {
namespace {

EmailEvent MustDecode(std::string_view json) {
  EventDecoder decoder;
  EmailEvent event;
  const bool ok = decoder.Decode(json, Strictness::kQueue, event);
  EXPECT_TRUE(ok) << json;
  for (const Violation& violation : decoder.violations()) ADD_FAILURE() << violation.pointer << " " << violation.detail;
  return event;
}

EmailEvent MustDecodeMessage(std::string_view json) {
  EventDecoder decoder;
  EmailEvent event;
  EXPECT_TRUE(decoder.DecodeMessage(json, Strictness::kApi, event)) << json;
  return event;
}

std::string Accepted(std::string_view json, const EmailEvent& event, std::string_view default_from = "") {
  std::string out;
  EncodeAccepted(json, event, {"id-1", 1766692800123, default_from}, out);
  return out;
}

std::string_view At(std::string_view json, ByteRange range) { return json.substr(range.offset, range.size); }

TEST(PriorityTest, HasNames) {
  EXPECT_EQ(PriorityName(Priority::kHigh), "high");
  EXPECT_EQ(PriorityName(Priority::kNormal), "normal");
  EXPECT_EQ(PriorityName(Priority::kLow), "low");
}

TEST(EmailEventTest, ClearMakesItNew) {
  EmailEvent event = MustDecode(kSeedExample);
  event.cc = event.bcc = event.reply_to = event.to;
  event.html = event.text = "x";
  event.headers = event.metadata = {{"a", "b"}};
  event.tags = {"t"};
  event.attachments.resize(1);
  event.Clear();
  const EmailEvent fresh;
  EXPECT_EQ(event.type, fresh.type);
  EXPECT_EQ(event.id, fresh.id);
  EXPECT_EQ(event.from, fresh.from);
  EXPECT_EQ(event.to, fresh.to);
  EXPECT_EQ(event.subject, fresh.subject);
  EXPECT_EQ(event.template_name, fresh.template_name);
  EXPECT_EQ(event.priority, fresh.priority);
  EXPECT_EQ(event.timestamp_unix_ms, fresh.timestamp_unix_ms);
  EXPECT_EQ(event.max_retries, fresh.max_retries);
  EXPECT_EQ(event.recipient_count(), 0u);
  EXPECT_TRUE(event.reply_to.empty() && event.html.empty() && event.text.empty() && event.headers.empty() &&
              event.tags.empty() && event.metadata.empty() && event.attachments.empty());
  for (const ByteRange range : {event.data, event.message, event.retry_count, event.status, event.id_value,
                                event.from_value, event.timestamp_value}) {
    EXPECT_EQ(range.size, 0u);
    EXPECT_EQ(range.offset, 0u);
  }
}

TEST(EncodeAcceptedTest, WrapsABareMessage) {
  const std::string_view json = R"( {"to":"a@b","template":"welcome","x":[1]} )";
  const EmailEvent event = MustDecodeMessage(R"({"to":"a@b","template":"welcome"})");
  EventDecoder decoder;
  EmailEvent with_unknown;
  ASSERT_TRUE(decoder.DecodeMessage(json, Strictness::kQueue, with_unknown));
  EXPECT_EQ(Accepted(json, with_unknown),
            R"({"type":"","message":{"id":"id-1","timestamp":"2025-12-25T20:00:00.123Z","retry_count":0,)"
            R"("status":"pending","to":"a@b","template":"welcome","x":[1]}})");
  EXPECT_EQ(event.type, "");
}

TEST(EncodeAcceptedTest, ReplacesWhatIsThereInAWholeEvent) {
  const EmailEvent event = MustDecode(kSeedExample);
  std::string expected(kSeedExample);
  auto replace = [&](std::string_view what, std::string_view with) {
    const size_t at = expected.find(what);
    ASSERT_NE(at, std::string::npos);
    expected.replace(at, what.size(), with);
  };
  replace("550e8400-e29b-41d4-a716-446655440000", "id-1");
  replace("2025-12-25T20:00:00Z", "2025-12-25T20:00:00.123Z");
  EXPECT_EQ(Accepted(kSeedExample, event), expected);
}

TEST(EncodeAcceptedTest, ReplacesGoZeroValues) {
  const EmailEvent event = MustDecode(kGoZeroValues);
  const std::string out = Accepted(kGoZeroValues, event, "Usual Store <noreply@usualstore.com>");
  EXPECT_EQ(
      out, R"({"type":"","message":{"id":"id-1","from":"Usual Store <noreply@usualstore.com>","to":"user@example.com",)"
           R"("subject":"","template":"welcome","data":null,"priority":"","timestamp":"2025-12-25T20:00:00.123Z",)"
           R"("retry_count":0,"max_retries":0,"status":"pending"}})");
}

TEST(EncodeAcceptedTest, ReplacesValuesOfAnyType) {
  const std::string_view json =
      R"({"message":{"retry_count":{"a":["}"]},"status":[1,"]",{}],"id":null,"to":"a@b","timestamp":0,"template":"t"}})";
  EXPECT_EQ(Accepted(json, MustDecode(json)),
            R"({"message":{"retry_count":0,"status":"pending","id":"id-1","to":"a@b",)"
            R"("timestamp":"2025-12-25T20:00:00.123Z","template":"t"}})");
}

TEST(EncodeAcceptedTest, DefaultFromOnlyWhereFromIsAbsent) {
  const std::string_view absent = R"({"message":{"to":"a@b","template":"t"}})";
  EXPECT_EQ(MustDecode(Accepted(absent, MustDecode(absent), R"("A \"B\"" <x@y>)")).from, (Mailbox{"A \"B\"", "x@y"}));
  EXPECT_EQ(MustDecode(Accepted(absent, MustDecode(absent))).from.address, "");
  const std::string_view given = R"({"message":{"from":"c@d","to":"a@b","template":"t"}})";
  EXPECT_EQ(MustDecode(Accepted(given, MustDecode(given), "x@y")).from.address, "c@d");
}

TEST(EncodeAcceptedTest, AddsLessThanIsReserved) {
  const std::string_view json = R"({"to":"a@b","template":"t"})";
  const std::string id(EventLimits::kMaxIdBytes, 'i');
  // The largest mailbox there is, all of it in need of escapes.
  std::string from = "\"";
  while (from.size() < 990) from += "\\\"";
  from += "\"<a@b>";
  ASSERT_TRUE(ParseMailbox(from).ok());
  std::string out;
  EncodeAccepted(json, MustDecodeMessage(json), {id, 253402300799999, from}, out);
  EXPECT_LE(out.size() - json.size(), EventLimits::kAcceptanceBytes);
}

TEST(EncodeAcceptedTest, LargestAcceptedEventFitsTheQueue) {
  const EventLimits limits{.max_bytes = 16 * 1024};
  EventDecoder decoder(limits);
  EmailEvent event;
  auto message_of = [](size_t bytes) {
    const std::string head = R"({"to":"a@b","template":"t","data":{"x":")";
    const std::string tail = "\"}}";
    return head + std::string(bytes - head.size() - tail.size(), 'x') + tail;
  };
  const size_t largest = limits.max_bytes - EventLimits::kAcceptanceBytes;
  EXPECT_FALSE(decoder.DecodeMessage(message_of(largest + 1), Strictness::kApi, event));
  const std::string json = message_of(largest);
  ASSERT_TRUE(decoder.DecodeMessage(json, Strictness::kApi, event));
  const std::string out = Accepted(json, event, std::string(900, 'n') + " <a@b.example>");
  EXPECT_TRUE(decoder.Decode(out, Strictness::kQueue, event));
}

TEST(EncodeAcceptedTest, DeepestAcceptedMessageFitsTheQueue) {
  EventDecoder decoder;
  EmailEvent event;
  auto nested = [](size_t arrays) {
    return R"({"to":"a@b","template":"t","data":{"x":)" + std::string(arrays, '[') + std::string(arrays, ']') + "}}";
  };
  // event, message and data are three levels.
  EXPECT_FALSE(decoder.DecodeMessage(nested(30), Strictness::kApi, event));
  ASSERT_TRUE(decoder.DecodeMessage(nested(29), Strictness::kApi, event));
  EXPECT_TRUE(decoder.Decode(Accepted(nested(29), event), Strictness::kQueue, event));
}

TEST(EncodeAcceptedTest, AppendsToTheOutput) {
  const std::string_view json = R"({"message":{"to":"a@b","template":"t"}})";
  std::string out = "before";
  EncodeAccepted(json, MustDecode(json), {"i", 0, ""}, out);
  EXPECT_TRUE(out.starts_with("before{\"message\":{\"id\":\"i\","));
}

TEST(PatchCopyTest, ChangesTwoValuesInPlace) {
  const EmailEvent event = MustDecode(kSeedExample);
  std::string out;
  PatchCopy(kSeedExample, event, 12, "failed", out);
  std::string expected(kSeedExample);
  expected.replace(expected.find("\"retry_count\": 0"), 16, "\"retry_count\": 12");
  expected.replace(expected.find("\"pending\""), 9, "\"failed\"");
  EXPECT_EQ(out, expected);
}

TEST(PatchCopyTest, AbsentFieldsStayAbsent) {
  const std::string_view json = R"({"message":{"to":"a@b","template":"t"},"retry_count":7,"status":"x"})";
  std::string out;
  PatchCopy(json, MustDecode(json), 3, "failed", out);
  EXPECT_EQ(out, json);
}

TEST(PatchCopyTest, OtherTypesStayAsTheyAre) {
  for (const std::string_view json :
       {R"({"message":{"to":"a@b","template":"t","retry_count":"1","status":1}})",
        R"({"message":{"to":"a@b","template":"t","retry_count":null,"status":null}})",
        R"({"message":{"to":"a@b","template":"t","retry_count":[1],"status":["x"]}})",
        R"({"message":{"to":"a@b","template":"t","retry_count":{"retry_count":1},"status":{"status":"x"}}})",
        R"({"message":{"to":"a@b","template":"t","retry_count":true,"status":false}})"}) {
    std::string out;
    PatchCopy(json, MustDecode(json), 3, "failed", out);
    EXPECT_EQ(out, json);
  }
}

TEST(PatchCopyTest, AnyNumberAndAnyStringAreReplaced) {
  for (const std::string_view number : {"-1", "0.5e-3", "123456789012345678901234567890"}) {
    const std::string json =
        R"({"message":{"status" : "\"}\\","to":"a@b","template":"t","retry_count":)" + std::string(number) + "}}";
    std::string out;
    PatchCopy(json, MustDecode(json), 3, "sent", out);
    EXPECT_EQ(out, R"({"message":{"status" : "sent","to":"a@b","template":"t","retry_count":3}})");
  }
}

TEST(PatchCopyTest, WorksOnABareMessage) {
  const std::string_view json = R"({"retry_count":0,"to":"a@b","template":"t"})";
  std::string out;
  PatchCopy(json, MustDecodeMessage(json), 1, "pending", out);
  EXPECT_EQ(out, R"({"retry_count":1,"to":"a@b","template":"t"})");
}

// An event with members in any order, any white space between tokens, and unknown members that look like known ones.
class RandomEvent {
 public:
  explicit RandomEvent(uint32_t seed) : random_(seed) {}

  std::string Make() {
    std::vector<std::string> message = {Member("to", R"("user@example.com")"), Member("template", R"("welcome")")};
    MaybeAdd(message, "id", {R"("abc")", "null", R"("")"});
    MaybeAdd(message, "from", {R"("N <a@b>")", "null", R"("\u0061@b")"});
    MaybeAdd(message, "subject", {R"("s \"status\": {}[]")", R"("\\")"});
    MaybeAdd(message, "data", {R"({"retry_count":5,"status":"x","a":["]}",{"b":"\\\""}]})", "{ }", "null"});
    MaybeAdd(message, "timestamp", {R"("2025-12-25T20:00:00Z")", "0", R"("0001-01-01T00:00:00Z")"});
    MaybeAdd(message, "retry_count", {"0", "17", "-3", "1.5e3", "null", R"("x")", "[1,{}]", R"({"a":"}"})"});
    MaybeAdd(message, "status", {R"("pending")", R"("")", R"("a\"}\\")", R"("\u0073ent")", "null", "1", "[\"]\"]"});
    MaybeAdd(message, "max_retries", {"3", "0", "-1"});
    MaybeAdd(message, "Status", {R"("keep")", "{}"});
    MaybeAdd(message, "retry-count", {"9", R"({"retry_count":4})"});
    std::vector<std::string> top = {Member("message", Object(message))};
    MaybeAdd(top, "type", {R"("t")", "null"});
    MaybeAdd(top, "status", {R"("keep")"});
    MaybeAdd(top, "retry_count", {"8"});
    return Space() + Object(top) + Space();
  }

 private:
  size_t Below(size_t n) { return std::uniform_int_distribution<size_t>(0, n - 1)(random_); }
  std::string Space() {
    std::string space;
    while (Below(3) == 0) space += " \t\r\n"[Below(4)];
    return space;
  }
  std::string Member(const std::string& name, const std::string& value) {
    return Space() + "\"" + name + "\"" + Space() + ":" + Space() + value + Space();
  }
  void MaybeAdd(std::vector<std::string>& members, const std::string& name, std::vector<std::string> values) {
    if (Below(4) != 0) members.push_back(Member(name, values[Below(values.size())]));
  }
  std::string Object(std::vector<std::string> members) {
    std::shuffle(members.begin(), members.end(), random_);
    std::string object = "{";
    for (size_t i = 0; i < members.size(); ++i) object += (i > 0 ? "," : "") + members[i];
    return object + "}";
  }

  std::mt19937 random_;
};

TEST(PatchCopyTest, IsByteIdenticalOutsideOfTheTwoRanges) {
  int patched_counts = 0;
  int patched_statuses = 0;
  for (uint32_t seed = 0; seed < 5000; ++seed) {
    const std::string json = RandomEvent(seed).Make();
    SCOPED_TRACE(json);
    const EmailEvent event = MustDecode(json);
    std::string copy;
    PatchCopy(json, event, 4711, "failed", copy);
    const EmailEvent again = MustDecode(copy);

    auto cut = [](std::string text, ByteRange a, ByteRange b) {
      if (a.offset < b.offset) std::swap(a, b);
      text.erase(a.offset, a.size);
      text.erase(b.offset, b.size);
      return text;
    };
    ASSERT_EQ(cut(json, event.retry_count, event.status), cut(copy, again.retry_count, again.status));
    const std::string_view old_count = At(json, event.retry_count);
    const bool is_number = !old_count.empty() && (old_count[0] == '-' || (old_count[0] >= '0' && old_count[0] <= '9'));
    ASSERT_EQ(At(copy, again.retry_count), is_number ? "4711" : old_count);
    const std::string_view old_status = At(json, event.status);
    const bool is_string = old_status.starts_with('"');
    ASSERT_EQ(At(copy, again.status), is_string ? "\"failed\"" : old_status);
    patched_counts += is_number;
    patched_statuses += is_string;

    ASSERT_EQ(again.id, event.id);
    ASSERT_EQ(again.from, event.from);
    ASSERT_EQ(again.to, event.to);
    ASSERT_EQ(again.subject, event.subject);
    ASSERT_EQ(again.timestamp_unix_ms, event.timestamp_unix_ms);
    ASSERT_EQ(again.max_retries, event.max_retries);
    ASSERT_EQ(At(copy, again.data), At(json, event.data));
  }
  EXPECT_GT(patched_counts, 1000);
  EXPECT_GT(patched_statuses, 1000);
}

TEST(EncodeAcceptedTest, KeepsEverythingElseOfAnyEvent) {
  for (uint32_t seed = 0; seed < 5000; ++seed) {
    const std::string json = RandomEvent(seed).Make();
    SCOPED_TRACE(json);
    const EmailEvent event = MustDecode(json);
    std::string out;
    EncodeAccepted(json, event, {"new-id", 1766692800123, "default@example.com"}, out);
    const EmailEvent again = MustDecode(out);
    ASSERT_EQ(again.id, "new-id");
    ASSERT_EQ(again.timestamp_unix_ms, 1766692800123);
    ASSERT_EQ(At(out, again.retry_count), "0");
    ASSERT_EQ(At(out, again.status), "\"pending\"");
    ASSERT_EQ(again.from.address, event.from.address.empty() ? "default@example.com" : event.from.address);
    ASSERT_EQ(again.to, event.to);
    ASSERT_EQ(again.subject, event.subject);
    ASSERT_EQ(again.template_name, event.template_name);
    ASSERT_EQ(again.max_retries, event.max_retries);
    ASSERT_EQ(again.type, event.type);
    ASSERT_EQ(At(out, again.data), At(json, event.data));
    std::string twice;  // what it wrote is what it would write again
    EncodeAccepted(out, again, {"new-id", 1766692800123, "default@example.com"}, twice);
    ASSERT_EQ(twice, out);
  }
}

TEST(IdTest, Validity) {
  EXPECT_TRUE(IsValidId("550e8400-e29b-41d4-a716-446655440000"));
  EXPECT_TRUE(IsValidId("email-queue:3:42"));
  EXPECT_TRUE(IsValidId("A.z_0:9-"));
  EXPECT_TRUE(IsValidId(std::string(128, 'x')));
  for (const std::string_view id :
       {"", " ", "a b", "a/b", "a@b", "ä", "a\n", "\na", "a%0d", "<a>", "a,b", "a;b", "a+b"}) {
    EXPECT_FALSE(IsValidId(id)) << id;
  }
  EXPECT_FALSE(IsValidId(std::string(129, 'x')));
  EXPECT_FALSE(IsValidId(std::string_view("a\0", 2)));
}

TEST(IdTest, NewIdsAreUuidsOfVersion7) {
  using std::chrono::system_clock;
  auto now_ms = [] {
    return std::chrono::duration_cast<std::chrono::milliseconds>(system_clock::now().time_since_epoch()).count();
  };
  std::set<std::string> ids;
  for (int i = 0; i < 10000; ++i) {
    const auto before = now_ms();
    const std::string id = NewEventId();
    const auto after = now_ms();
    ASSERT_EQ(id.size(), 36u);
    ASSERT_TRUE(IsValidId(id));
    for (size_t at = 0; at < id.size(); ++at) {
      const std::string_view allowed = at == 8 || at == 13 || at == 18 || at == 23 ? "-" : "0123456789abcdef";
      ASSERT_NE(allowed.find(id[at]), std::string_view::npos) << id;
    }
    ASSERT_EQ(id[14], '7') << id;
    ASSERT_NE(std::string_view("89ab").find(id[19]), std::string_view::npos) << id;
    const auto id_ms = std::stoll(id.substr(0, 8) + id.substr(9, 4), nullptr, 16);
    ASSERT_GE(id_ms, before);
    ASSERT_LE(id_ms, after);
    ids.insert(id);
  }
  EXPECT_EQ(ids.size(), 10000u);
}

TEST(JsonStringTest, Escapes) {
  auto json = [](std::string_view text) {
    std::string out = "x";
    AppendJsonString(text, out);
    return out.substr(1);
  };
  EXPECT_EQ(json(""), "\"\"");
  EXPECT_EQ(json("plain / text"), "\"plain / text\"");
  EXPECT_EQ(json("a\"b\\c"), R"("a\"b\\c")");
  EXPECT_EQ(json("\n\r\t"), R"("\n\r\t")");
  EXPECT_EQ(json(std::string_view("\0\x01\x1f\x7f", 4)), "\"\\u0000\\u0001\\u001f\x7f\"");
  EXPECT_EQ(json("Grüße 🎉"), "\"Grüße 🎉\"");
  EXPECT_EQ(json("a\xFF\xC3z\xED\xA0\x80"), "\"a\uFFFD\uFFFDz\uFFFD\uFFFD\uFFFD\"");
}

}  // namespace
}  // namespace postbus
