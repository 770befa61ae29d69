#include "queue/kafka/outgoing.h"

#include <gtest/gtest.h>

namespace postbus::kafka {
namespace {

TEST(DelayStepFor, IsTheLargestThatFitsWithASecondOfGrace) {
  const auto step = [](int64_t remaining_ms) { return kDelaySteps[DelayStepFor(remaining_ms)].name; };
  EXPECT_EQ(step(-5), "5s");
  EXPECT_EQ(step(0), "5s");
  EXPECT_EQ(step(5'000), "5s");
  EXPECT_EQ(step(28'999), "5s");
  EXPECT_EQ(step(29'000), "30s");
  EXPECT_EQ(step(30'000), "30s");
  EXPECT_EQ(step(118'999), "30s");
  EXPECT_EQ(step(120'000), "2m");
  EXPECT_EQ(step(600'000), "10m");
  EXPECT_EQ(step(3'600'000), "1h");
  EXPECT_EQ(step(21'600'000), "6h");
  EXPECT_EQ(step(86'400'000), "1d");
  EXPECT_EQ(step(int64_t{30} * 86'400'000), "1d");
}

TEST(TopicNames, ComeFromTopicAndPrefix) {
  KafkaConfig config;
  config.topic = "email-queue";
  TopicNames names(config);
  EXPECT_EQ(names.events[0], "email-queue-high");
  EXPECT_EQ(names.events[1], "email-queue");
  EXPECT_EQ(names.events[2], "email-queue-low");
  EXPECT_EQ(names.delays[0], "email-delay-5s");
  EXPECT_EQ(names.delays[6], "email-delay-1d");
  EXPECT_EQ(names.dead_letters, "email-dlq");
  EXPECT_EQ(names.status, "email-status");
  EXPECT_EQ(names.cancellations, "email-cancellations");
  EXPECT_EQ(names.PriorityOf("email-queue-high"), Priority::kHigh);
  EXPECT_EQ(names.PriorityOf("email-queue"), Priority::kNormal);
  EXPECT_EQ(names.PriorityOf("email-queue-low"), Priority::kLow);
  EXPECT_EQ(names.PriorityOf("another"), Priority::kNormal);
}

TEST(TopicTable, IsThatOfTheDesign) {
  const auto table = TopicTable(KafkaConfig());
  ASSERT_EQ(table.size(), 13u);
  constexpr int64_t kWeekMs = int64_t{7} * 86'400'000;
  const auto setting = [](const TopicSpec& spec, std::string_view name) -> std::string {
    for (const auto& [each, value] : spec.settings) {
      if (each == name) return value;
    }
    return "(default)";
  };
  for (const TopicSpec& spec : table) EXPECT_EQ(spec.partitions, 24) << spec.name;
  EXPECT_EQ(setting(table[1], "retention.ms"), std::to_string(kWeekMs));
  EXPECT_EQ(setting(table[1], "max.message.bytes"), "2097152");
  EXPECT_EQ(table[9].name, "email-delay-1d");
  EXPECT_EQ(setting(table[9], "retention.ms"), std::to_string(kWeekMs + 86'400'000));
  EXPECT_EQ(table[10].name, "email-dlq");
  EXPECT_EQ(setting(table[10], "retention.ms"), std::to_string(int64_t{30} * 86'400'000));
  EXPECT_EQ(setting(table[11], "max.message.bytes"), "(default)");
  EXPECT_EQ(setting(table[12], "cleanup.policy"), "compact,delete");
}

class CopiesTest : public testing::Test {
 protected:
  CopiesTest() : names_(KafkaConfig()) {
    source_.topic = "email-queue";
    source_.partition = 3;
    source_.offset = 42;
    source_.key = "key";
    source_.has_key = true;
    source_.headers.id = "id-1";
    source_.headers.accepted_at_unix_ms = 1000;
    source_.headers.origin = {"email-queue-high", 1, 7};
    source_.headers.traceparent = "00-trace-01";
  }

  TopicNames names_;
  Source source_;
};

TEST_F(CopiesTest, ADeferredCopyKeepsWhatTheEventCameWith) {
  const Record record = DeferredRecord(
      names_, source_,
      {.recipients = {0b101}, .due_unix_ms = 40'000, .attempt = 2, .outcome_class = "transient", .value = "value"},
      10'000);
  EXPECT_EQ(record.topic, "email-delay-30s");
  EXPECT_EQ(record.key, "id-1");
  EXPECT_EQ(record.value, "value");
  const HeaderList expected = {{"postbus-fmt", "1"},
                               {"postbus-id", "id-1"},
                               {"postbus-attempt", "2"},
                               {"postbus-due", "40000"},
                               {"postbus-accepted-at", "1000"},
                               {"postbus-rcpt", "0,2"},
                               {"postbus-origin", "email-queue-high/1/7"},
                               {"postbus-class", "transient"},
                               {"traceparent", "00-trace-01"}};
  EXPECT_EQ(record.headers, expected);
}

TEST_F(CopiesTest, WithoutAnIdTheKeyIsTheForeignOne) {
  source_.headers.id.clear();
  const DeferredCopy copy = {.recipients = {}, .due_unix_ms = 1, .attempt = 0, .outcome_class = {}, .value = {}};
  EXPECT_EQ(DeferredRecord(names_, source_, copy, 0).key, "key");
  source_.has_key = false;
  EXPECT_EQ(DeferredRecord(names_, source_, copy, 0).key, "email-queue-high.1.7");
}

TEST_F(CopiesTest, AForwardedEventIsTheSourceInAnotherTopic) {
  source_.headers.attempt = 2;
  source_.headers.recipients = {0b101};
  source_.headers.replay = 1;
  source_.others = {{"b3", "0"}, {"b3", "1"}};
  const Record record = ForwardedRecord(names_, source_, Priority::kLow, "value");
  EXPECT_EQ(record.topic, "email-queue-low");
  EXPECT_TRUE(record.has_key);
  EXPECT_EQ(record.key, "key") << "not the id: the same key as ever";
  EXPECT_EQ(record.value, "value");
  const HeaderList expected = {{"postbus-fmt", "1"},
                               {"postbus-id", "id-1"},
                               {"postbus-attempt", "2"},
                               {"postbus-accepted-at", "1000"},
                               {"postbus-rcpt", "0,2"},
                               {"postbus-origin", "email-queue-high/1/7"},
                               {"postbus-replay", "1"},
                               {"traceparent", "00-trace-01"},
                               {"b3", "0"},
                               {"b3", "1"}};
  EXPECT_EQ(record.headers, expected);
  source_.has_key = false;
  EXPECT_FALSE(ForwardedRecord(names_, source_, Priority::kLow, "value").has_key);
  const auto letter = SmallerThan(names_, "group", source_, CopyKind::kForwarded, record);
  ASSERT_TRUE(letter) << "where the topic does not take it";
  EXPECT_EQ(letter->record.topic, "email-dlq");
}

TEST_F(CopiesTest, TooLargeBecomesADeadLetterAndThatAPointer) {
  const Record deferred = DeferredRecord(
      names_, source_,
      {.recipients = {0b10}, .due_unix_ms = 40'000, .attempt = 2, .outcome_class = "transient", .value = "large"},
      10'000);
  auto letter = SmallerThan(names_, "group", source_, CopyKind::kDeferred, deferred);
  ASSERT_TRUE(letter);
  EXPECT_EQ(letter->kind, CopyKind::kDeadLetter);
  EXPECT_EQ(letter->record.topic, "email-dlq");
  EXPECT_EQ(letter->record.value, "large");
  EventHeaders headers;
  for (const auto& [name, value] : letter->record.headers) ASSERT_TRUE(DecodeHeader(name, value, headers).ok());
  EXPECT_EQ(headers.outcome_class, "too_large");
  EXPECT_EQ(headers.attempt, 2);
  EXPECT_EQ(headers.recipients, RecipientSet{0b10});

  const auto pointer = SmallerThan(names_, "group", source_, CopyKind::kDeadLetter, letter->record);
  ASSERT_TRUE(pointer);
  EXPECT_EQ(pointer->kind, CopyKind::kPointer);
  EXPECT_EQ(pointer->record.value, "");
  EXPECT_EQ(pointer->record.key, "key");
  EXPECT_EQ(pointer->record.headers.back(),
            (std::pair<std::string, std::string>("postbus-pointer", "email-queue/3/42")));
  EXPECT_FALSE(SmallerThan(names_, "group", source_, CopyKind::kPointer, pointer->record));
  EXPECT_FALSE(SmallerThan(names_, "group", source_, CopyKind::kStatus, {}));
}

TEST(Outgoing, ACancellationHasTheIdOfItsEmailAsKey) {
  const Record record = CancellationRecord(TopicNames(KafkaConfig()), "order:17", 1'766'692'800'000);
  EXPECT_EQ(record.topic, "email-cancellations");
  EXPECT_TRUE(record.has_key);
  EXPECT_EQ(record.key, "order:17");
  EXPECT_EQ(record.value, R"({"v":1,"id":"order:17","at":1766692800000})");
}

}  // namespace
}  // namespace postbus::kafka
