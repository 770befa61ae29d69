// The Kafka backend on a real broker: what the conformance suite cannot see.
#include "queue/kafka/kafka_queue.h"

#include <filesystem>
#include <fstream>

#include "queue/kafka/offset_map.h"
#include "queue/kafka/topics.h"
#include "tests/queue/kafka/kafka_test.h"

namespace postbus::kafka {
namespace {

class KafkaQueueTest : public KafkaTest {
 protected:
  explicit KafkaQueueTest(int partitions = 1) : KafkaTest(partitions) {}

  const std::string& topic() const { return config_.kafka.topic; }
  const std::string& group() const { return config_.kafka.group_id; }

  // Of events without headers the origin tells which one it is.
  static int64_t OffsetOf(const QueuedEvent& event) { return event.headers.origin.offset; }

  // All events that come, until none has come for `quiet_ms`; each is completed.
  std::vector<int64_t> Drain(TestHost& host, size_t at_least, int64_t quiet_ms = 700) {
    std::vector<int64_t> offsets;
    QueuedEvent event;
    while (host.Next(event, offsets.size() < at_least ? kPatienceMs : quiet_ms)) {
      offsets.push_back(OffsetOf(event));
      host.Complete(event);
    }
    std::sort(offsets.begin(), offsets.end());
    return offsets;
  }
  static std::vector<int64_t> Range(int64_t begin, int64_t end) {
    std::vector<int64_t> offsets;
    for (int64_t i = begin; i < end; ++i) offsets.push_back(i);
    return offsets;
  }
};

TEST_F(KafkaQueueTest, ARestartGoesOnFromTheMap) {
  WriteEvents(50);
  {
    auto host = OpenHost();
    std::vector<QueuedEvent> turns(50);
    for (QueuedEvent& turn : turns) ASSERT_TRUE(host->Next(turn));
    for (const QueuedEvent& turn : turns) {
      if (OffsetOf(turn) != 23) host->Complete(turn);
    }
    host->shard().Abandon(turns[23].turn);
    ASSERT_EQ(OffsetOf(turns[23]), 23);
    EXPECT_TRUE(host->Stop());
  }
  const auto [base, map] = deployment_->Committed(group(), topic(), 0);
  EXPECT_EQ(base, 23);
  EXPECT_TRUE(map.starts_with("M1.")) << map;
  auto host = OpenHost();
  EXPECT_EQ(Drain(*host, 1), std::vector<int64_t>{23});
  EXPECT_TRUE(host->Stop());
  EXPECT_EQ(deployment_->Committed(group(), topic(), 0), (std::pair<int64_t, std::string>(50, "")));
}

TEST_F(KafkaQueueTest, WhatWasWrittenBeforeTheFirstHostIsNotSkipped) {
  WriteEvents(1000);
  auto host = OpenHost();
  EXPECT_EQ(Drain(*host, 1000), Range(0, 1000));
  EXPECT_TRUE(host->Stop());
}

TEST_F(KafkaQueueTest, AForeignEventGetsOriginAndTimeOfItsRecord) {
  const int64_t written = UnixTimeMs() - 3'600'000;  // not so old that the broker's retention takes it away
  deployment_->Write(topic(), 0, std::nullopt, "{}", {}, written);
  deployment_->Write(topic(), 0, "key", std::nullopt);
  auto host = OpenHost();
  QueuedEvent event;
  ASSERT_TRUE(host->Next(event));
  EXPECT_EQ(event.value, "{}");
  EXPECT_EQ(event.headers.id, "");
  EXPECT_EQ(event.headers.accepted_at_unix_ms, written);
  EXPECT_EQ(event.headers.origin.topic, topic());
  EXPECT_EQ(event.headers.origin.partition, 0);
  EXPECT_EQ(event.headers.origin.offset, 0);
  host->Complete(event);
  ASSERT_TRUE(host->Next(event)) << "a tombstone comes as an empty value";
  EXPECT_EQ(event.value, "");
  EXPECT_EQ(event.headers.origin.offset, 1);
  host->Complete(event);
  EXPECT_TRUE(host->Stop());
}

TEST_F(KafkaQueueTest, AnEventIsForwardedAsItIsAndStoredBeforeItsSourceIsDone) {
  const std::string low = topic() + "-low";
  const HeaderList foreign = {{"b3", "0"}, {"traceparent", "00-trace-01"}};
  const int64_t written = UnixTimeMs() - 60'000;
  deployment_->Write(topic(), 0, std::nullopt, "value", foreign, written);
  deployment_->SetTopic(low, "cleanup.policy", "compact");  // such a topic takes no record without a key
  auto host = OpenHost();
  QueuedEvent event;
  ASSERT_TRUE(host->Next(event));
  EXPECT_TRUE(host->shard().Forward(event.turn, Priority::kLow, event.value));
  EXPECT_FALSE(host->Next(event, 1'000));
  EXPECT_EQ(host->queue().Stats().completed, 0u);
  EXPECT_LE(deployment_->Committed(group(), topic(), 0).first, 0);

  deployment_->SetTopic(low, "cleanup.policy", "delete");
  ASSERT_TRUE(host->Next(event));
  EXPECT_EQ(event.priority, Priority::kLow);
  EXPECT_EQ(event.value, "value");
  EXPECT_EQ(event.headers.accepted_at_unix_ms, written);
  EXPECT_EQ(event.headers.origin.DerivedId(), topic() + ".0.0") << "it keeps its name";
  EXPECT_EQ(event.headers.traceparent, "00-trace-01");
  host->Complete(event);
  EXPECT_TRUE(host->Stop());
  EXPECT_EQ(deployment_->Committed(group(), topic(), 0).first, 1);
  const auto copies = deployment_->ReadAll(low);
  ASSERT_EQ(copies.size(), 1u);
  EXPECT_EQ(copies[0].key, std::nullopt);
  EXPECT_EQ(copies[0].Header("b3"), "0");
  EXPECT_EQ(host->queue().Stats().deferred, 0u);
  EXPECT_TRUE(deployment_->ReadAll(deployment_->topic("-status")).empty()) << "nothing has happened to it";
}

TEST_F(KafkaQueueTest, NoMoreThanTheWindowIsInFlight) {
  WriteEvents(1100);
  auto host = OpenHost();
  QueuedEvent first, event;
  ASSERT_TRUE(host->Next(first));
  for (int i = 1; i < 1000; ++i) ASSERT_TRUE(host->Next(event)) << i;
  EXPECT_FALSE(host->Next(event, 300)) << "the 1 001st";
  host->Complete(first);
  EXPECT_TRUE(host->Next(event));
  EXPECT_EQ(OffsetOf(event), 1000);
  EXPECT_FALSE(host->Next(event, 300));
  host->queue().StopConsuming();
  EXPECT_TRUE(host->Stop());
  EXPECT_EQ(deployment_->Committed(group(), topic(), 0).first, 1);
}

TEST_F(KafkaQueueTest, AnUnknownFormatStopsThePartitionAndKillsNoMail) {
  WriteEvents(2);
  deployment_->Write(topic(), 0, "new", "value", {{"postbus-fmt", "2"}, {"postbus-attempt", "what is this"}});
  WriteEvents(1);
  auto host = OpenHost();
  EXPECT_EQ(Drain(*host, 2), Range(0, 2));
  EXPECT_TRUE(WaitUntil([&] { return host->queue().Stats().stopped_partitions == 1; }));
  EXPECT_NE(alarms().find("at offset 2 has postbus-fmt 2"), std::string::npos) << alarms();
  EXPECT_EQ(host->queue().Stats().dead_lettered, 0u);
  EXPECT_TRUE(host->Stop());
  EXPECT_EQ(deployment_->Committed(group(), topic(), 0).first, 2);
  EXPECT_TRUE(deployment_->ReadAll(deployment_->topic("-dlq")).empty());
}

TEST_F(KafkaQueueTest, HeadersThatDoNotParseAreDeadLetteredNotGuessedAt) {
  deployment_->Write(topic(), 0, "bad", "value", {{"postbus-id", "id-1"}, {"postbus-due", "tomorrow"}});
  WriteEvents(1);
  auto host = OpenHost();
  EXPECT_EQ(Drain(*host, 1), std::vector<int64_t>{1});
  EXPECT_TRUE(host->Stop());
  EXPECT_EQ(deployment_->Committed(group(), topic(), 0).first, 2);
  const auto letters = deployment_->ReadAll(deployment_->topic("-dlq"));
  ASSERT_EQ(letters.size(), 1u);
  EXPECT_EQ(letters[0].key, "bad");
  EXPECT_EQ(letters[0].value, "value");
  EXPECT_EQ(letters[0].Header("postbus-class"), "invalid_headers");
  EXPECT_EQ(letters[0].Header("postbus-id"), "id-1");
  EXPECT_NE(letters[0].Header("__dlq.errors.message").find("postbus-due"), std::string::npos);
  const auto records = deployment_->ReadAll(deployment_->topic("-status"));
  ASSERT_EQ(records.size(), 1u);
  EXPECT_EQ(records[0].key, "id-1");
  const auto status = DecodeStatus(records[0].value);
  ASSERT_TRUE(status.ok());
  EXPECT_EQ(status->change, Change::kDeadLettered);
  EXPECT_EQ(status->outcome, "invalid_headers");
}

TEST_F(KafkaQueueTest, ForeignMetadataIsIgnoredAndSkipsNothing) {
  WriteEvents(10);
  deployment_->Commit(group(), topic(), 0, 4, "somebody's notes");
  auto host = OpenHost();
  EXPECT_EQ(Drain(*host, 6), Range(4, 10));
  EXPECT_EQ(host->queue().Stats().offset_maps_ignored, 1u);
  EXPECT_NE(alarms().find("offset map of the last commit is ignored"), std::string::npos) << alarms();
  EXPECT_TRUE(host->Stop());
}

TEST_F(KafkaQueueTest, AnOffsetMapOfANewerMajorIsNotThrownAway) {
  WriteEvents(10);
  deployment_->Commit(group(), topic(), 0, 4, "M2.whatever");
  const std::string refusal = Refusal();
  EXPECT_NE(refusal.find(topic() + " [0]"), std::string::npos) << refusal;
  EXPECT_NE(refusal.find("of a newer postbus: start that one again"), std::string::npos) << refusal;
  EXPECT_EQ(deployment_->Committed(group(), topic(), 0), std::make_pair(int64_t{4}, std::string("M2.whatever")));

  deployment_->Commit(group(), topic(), 0, 4, "");  // as kafka-consumer-groups --reset-offsets --to-current does
  auto host = OpenHost();
  EXPECT_EQ(Drain(*host, 6), Range(4, 10));
  EXPECT_TRUE(host->Stop());
}

TEST_F(KafkaQueueTest, AJournalOfAnotherMajorStopsItsPartition) {
  WriteEvents(3);
  std::string journal;
  {
    auto host = OpenHost();
    EXPECT_EQ(Drain(*host, 3), Range(0, 3));
    EXPECT_TRUE(host->Stop());
  }
  for (const auto& entry : std::filesystem::directory_iterator(config_.state_dir + "/journal")) {
    if (entry.path().filename().string().find("+" + topic() + "+0") != std::string::npos) journal = entry.path();
  }
  ASSERT_NE(journal, "");
  std::fstream(journal, std::ios::in | std::ios::out | std::ios::binary).seekp(8).put(2);
  WriteEvents(3);
  auto host = OpenHost();
  EXPECT_TRUE(WaitUntil([&] { return host->queue().Stats().stopped_partitions == 1; }));
  EXPECT_NE(alarms().find("has format 2, this postbus knows 1"), std::string::npos) << alarms();
  QueuedEvent event;
  EXPECT_FALSE(host->Next(event, 200));
  EXPECT_TRUE(host->Stop());
}

// By a host that is no more, and of which this one knows nothing.
TEST_F(KafkaQueueTest, WhatIsClaimedInTheMapIsTold) {
  WriteEvents(3);
  deployment_->Commit(group(), topic(), 0, 0, EncodeOffsetMap({0, 2, {{0, false}, {1, true}}}));
  auto host = OpenHost();
  std::vector<bool> claimed;
  for (int i = 0; i < 3; ++i) {
    QueuedEvent event;
    ASSERT_TRUE(host->Next(event));
    claimed.push_back(event.past.claimed);
    if (i == 1) host->shard().Unclaim(event.turn);  // not ours to take back
    host->shard().Abandon(event.turn);
  }
  EXPECT_EQ(claimed, (std::vector<bool>{false, true, false}));
  EXPECT_TRUE(host->Stop());
  const auto [offset, map] = deployment_->Committed(group(), topic(), 0);
  EXPECT_EQ(map, EncodeOffsetMap({0, 2, {{0, false}, {1, true}}})) << "it stays, whoever comes next";
}

TEST_F(KafkaQueueTest, AParkedRecordThatWasClaimedIsADeadLetter) {
  const std::string delay = deployment_->topic("-delay-5s");
  const int64_t due = UnixTimeMs() + 1'000;
  for (const char* id : {"claimed", "not"}) {
    deployment_->Write(delay, 0, id, "value", {{"postbus-id", id}, {"postbus-due", std::to_string(due)}});
  }
  deployment_->Commit(group() + "-delay", delay, 0, 0, EncodeOffsetMap({0, 1, {{0, true}}}));
  config_.at_most_once = true;
  auto host = OpenHost();
  QueuedEvent event;
  ASSERT_TRUE(host->Next(event));
  EXPECT_EQ(event.headers.id, "not");
  host->Complete(event);
  EXPECT_FALSE(host->Next(event, 300));
  EXPECT_TRUE(host->Stop());
  const auto letters = deployment_->ReadAll(deployment_->topic("-dlq"));
  ASSERT_EQ(letters.size(), 1u);
  EXPECT_EQ(letters[0].key, "claimed");
  EXPECT_EQ(letters[0].Header("postbus-class"), "in_doubt");
  EXPECT_EQ(deployment_->Committed(group() + "-delay", delay, 0), (std::pair<int64_t, std::string>{2, ""}));
}

TEST_F(KafkaQueueTest, WithoutACommitOnATopicUsedBeforeItAsksWhereToBegin) {
  WriteEvents(10);
  deployment_->DeleteRecordsBelow(topic(), 0, 4);
  const std::string refusal = Refusal();
  EXPECT_NE(refusal.find(topic() + " [0]"), std::string::npos) << refusal;
  EXPECT_NE(refusal.find("--from earliest|latest|TIME"), std::string::npos) << refusal;

  config_.kafka.from = "yesterday";
  Result<std::unique_ptr<Queue>> wrong = TryOpen();
  ASSERT_FALSE(wrong.ok());
  EXPECT_EQ(wrong.status().kind(), ErrorKind::kInvalid);

  config_.kafka.from = "earliest";
  auto host = OpenHost();
  EXPECT_EQ(Drain(*host, 6), Range(4, 10));
  EXPECT_TRUE(host->Stop());
  config_.kafka.from = "";
  EXPECT_EQ(Refusal(), "") << "the group has an offset now";
}

TEST_F(KafkaQueueTest, FromLatestAndFromATime) {
  const int64_t begin = (UnixTimeMs() - 3'600'000) / 1000 * 1000;
  for (int i = 0; i < 4; ++i) deployment_->Write(topic(), 0, "e", "value", {}, begin + i * 1000);
  deployment_->DeleteRecordsBelow(topic(), 0, 1);
  config_.kafka.from = FormatRfc3339(begin + 1'500);
  {
    auto host = OpenHost();
    EXPECT_EQ(Drain(*host, 2), Range(2, 4));
    EXPECT_TRUE(host->Stop());
  }
  config_.kafka.group_id += "-other";
  config_.kafka.from = "latest";
  auto host = OpenHost();
  QueuedEvent event;
  EXPECT_FALSE(host->Next(event, 700));
  WriteEvents(1);
  EXPECT_EQ(Drain(*host, 1), Range(4, 5));
  EXPECT_TRUE(host->Stop());
}

TEST_F(KafkaQueueTest, AnOffsetThatRetentionPassedIsNeverSkippedSilently) {
  WriteEvents(10);
  deployment_->Commit(group(), topic(), 0, 2, "");
  deployment_->DeleteRecordsBelow(topic(), 0, 5);
  const std::string refusal = Refusal();
  EXPECT_NE(refusal.find("committed offset 2 is outside the log [5, 10)"), std::string::npos) << refusal;
  config_.kafka.from = "earliest";
  auto host = OpenHost();
  EXPECT_EQ(Drain(*host, 5), Range(5, 10));
  EXPECT_TRUE(host->Stop());
}

class TwoPartitions : public KafkaQueueTest {
 protected:
  TwoPartitions() : KafkaQueueTest(2) {}
};

TEST_F(TwoPartitions, ANewPartitionOfAKnownTopicBeginsAtItsFirstRecord) {
  deployment_->Commit(group(), topic(), 0, 0, "");
  for (int i = 0; i < 3; ++i) deployment_->Write(topic(), 1, "e", "value");
  deployment_->DeleteRecordsBelow(topic(), 1, 1);
  {
    auto host = OpenHost();
    EXPECT_EQ(Drain(*host, 2), Range(1, 3));
    EXPECT_TRUE(host->Stop());
  }
  deployment_->Commit(group() + "-other", topic() + "-low", 0, 0, "");
  config_.kafka.group_id += "-other";
  EXPECT_NE(Refusal().find(topic() + " [1]"), std::string::npos) << "that group knows another topic only";
}

TEST_F(KafkaQueueTest, ADeferredRecordIsAsTheDesignSays) {
  deployment_->Write(topic(), 0, "the key", "first",
                     {{"postbus-fmt", "1"},
                      {"postbus-id", "id-1"},
                      {"postbus-accepted-at", "1700000000000"},
                      {"traceparent", "00-trace-01"}});
  auto host = OpenHost();
  QueuedEvent event;
  ASSERT_TRUE(host->Next(event));
  const int64_t due = UnixTimeMs() + 600'000;
  host->shard().Defer(
      event.turn,
      {.recipients = {0b1001}, .due_unix_ms = due, .attempt = 3, .outcome_class = "throttled", .value = "second"});
  host->Complete(event);
  ASSERT_TRUE(WaitUntil([&] { return host->queue().Stats().deferred == 1; }));
  EXPECT_TRUE(WaitUntil([&] { return host->queue().Stats().delayed == 1; })) << host->queue().Stats().delayed;
  EXPECT_TRUE(host->Stop());
  const auto records = deployment_->ReadAll(deployment_->topic("-delay-10m"));
  ASSERT_EQ(records.size(), 1u);
  EXPECT_EQ(records[0].key, "id-1");
  EXPECT_EQ(records[0].value, "second");
  const HeaderList expected = {{"postbus-fmt", "1"},
                               {"postbus-id", "id-1"},
                               {"postbus-attempt", "3"},
                               {"postbus-due", std::to_string(due)},
                               {"postbus-accepted-at", "1700000000000"},
                               {"postbus-rcpt", "0,3"},
                               {"postbus-origin", topic() + "/0/0"},
                               {"postbus-class", "throttled"},
                               {"traceparent", "00-trace-01"}};
  EXPECT_EQ(records[0].headers, expected);
}

TEST_F(KafkaQueueTest, ADeadLetterIsAsTheDesignSays) {
  WriteEvents(1);
  deployment_->Write(topic(), 0, "the key", "value", {{"postbus-id", "id-1"}, {"postbus-replay", "2"}});
  auto host = OpenHost();
  QueuedEvent event;
  ASSERT_TRUE(host->Next(event));
  host->Complete(event);
  ASSERT_TRUE(host->Next(event));
  const int64_t before = UnixTimeMs();
  host->shard().DeadLetter(event.turn, {.recipients = {0b10},
                                        .attempt = 4,
                                        .outcome_class = "attempts_exhausted",
                                        .message = "451 4.7.1 later",
                                        .id = {},
                                        .value = event.value});
  host->Complete(event);
  EXPECT_TRUE(host->Stop());
  const auto letters = deployment_->ReadAll(deployment_->topic("-dlq"));
  ASSERT_EQ(letters.size(), 1u);
  EXPECT_EQ(letters[0].key, "the key");
  EXPECT_EQ(letters[0].value, "value");
  EXPECT_GE(letters[0].timestamp_unix_ms, before);
  HeaderList headers = letters[0].headers;
  std::erase_if(headers, [](const auto& header) { return header.first == "postbus-accepted-at"; });
  const HeaderList expected = {{"postbus-fmt", "1"},
                               {"postbus-id", "id-1"},
                               {"postbus-attempt", "4"},
                               {"postbus-rcpt", "1"},
                               {"postbus-origin", topic() + "/0/1"},
                               {"postbus-class", "attempts_exhausted"},
                               {"postbus-replay", "2"},
                               {"__dlq.errors.topic", topic()},
                               {"__dlq.errors.partition", "0"},
                               {"__dlq.errors.offset", "1"},
                               {"__dlq.errors.group", group()},
                               {"__dlq.errors.delivery.count", "4"},
                               {"__dlq.errors.message", "451 4.7.1 later"}};
  EXPECT_EQ(headers, expected);
}

// 11.5 s in steps of 5 s.
TEST_F(KafkaQueueTest, AHopKeepsKeyValueAndHeadersAndIsNotEarly) {
  WriteEvents(1);
  auto host = OpenHost();
  QueuedEvent event;
  ASSERT_TRUE(host->Next(event));
  const int64_t due = UnixTimeMs() + 11'500;
  host->shard().Defer(
      event.turn,
      {.recipients = {0b1}, .due_unix_ms = due, .attempt = 1, .outcome_class = "transient", .value = "second"});
  host->Complete(event);
  ASSERT_TRUE(host->Next(event));
  const int64_t came = UnixTimeMs();
  EXPECT_GE(came, due);
  EXPECT_LE(came, due + 1000);
  EXPECT_EQ(event.value, "second");
  EXPECT_EQ(event.headers.due_unix_ms, due);
  host->Complete(event);
  EXPECT_TRUE(host->Stop());
  const auto hops = deployment_->ReadAll(deployment_->topic("-delay-5s"));
  ASSERT_GE(hops.size(), 2u);
  for (const StoredRecord& hop : hops) {
    EXPECT_EQ(hop.key, hops[0].key);
    EXPECT_EQ(hop.headers, hops[0].headers);
    EXPECT_EQ(hop.value, "second");
  }
}

TEST_F(KafkaQueueTest, APartitionOfADelayTopicWaitsForItsHeadAlone) {
  const int64_t now = UnixTimeMs();
  const auto park = [&](const std::string& suffix, const std::string& id, int64_t due) {
    deployment_->Write(deployment_->topic(suffix), 0, id, "value",
                       {{"postbus-id", id}, {"postbus-due", std::to_string(due)}}, now);
  };
  park("-delay-1d", "tomorrow", now + 86'400'000);
  park("-delay-5s", "in-4-s", now + 4'000);
  park("-delay-5s", "in-1-s", now + 1'000);
  park("-delay-1h", "overdue", now - 5'000);
  auto host = OpenHost();
  QueuedEvent event;
  for (const char* id : {"overdue", "in-1-s", "in-4-s"}) {
    ASSERT_TRUE(host->Next(event));
    EXPECT_EQ(event.headers.id, id);
    EXPECT_GE(UnixTimeMs(), event.headers.due_unix_ms);
    host->Complete(event);
  }
  EXPECT_FALSE(host->Next(event, 300));
  EXPECT_TRUE(host->Stop());
}

TEST_F(KafkaQueueTest, WhatIsAWeekPastItsTimeIsBuried) {
  const int64_t now = UnixTimeMs();
  deployment_->Write(deployment_->topic("-delay-1h"), 0, "old", "value",
                     {{"postbus-id", "old"}, {"postbus-due", std::to_string(now - int64_t{8} * 86'400'000)}});
  deployment_->Write(deployment_->topic("-delay-1h"), 0, "late", "value",
                     {{"postbus-id", "late"}, {"postbus-due", std::to_string(now - int64_t{6} * 86'400'000)}});
  auto host = OpenHost();
  QueuedEvent event;
  ASSERT_TRUE(host->Next(event));
  EXPECT_EQ(event.headers.id, "late");
  host->Complete(event);
  EXPECT_TRUE(WaitUntil([&] { return host->queue().Stats().dead_lettered == 1; }));
  EXPECT_TRUE(host->Stop());
  const auto letters = deployment_->ReadAll(deployment_->topic("-dlq"));
  ASSERT_EQ(letters.size(), 1u);
  EXPECT_EQ(letters[0].key, "old");
  EXPECT_EQ(letters[0].Header("postbus-class"), "stale");
  EXPECT_EQ(letters[0].Header("__dlq.errors.topic"), deployment_->topic("-delay-1h"));
  EXPECT_EQ(deployment_->ReadAll(deployment_->topic("-status")).size(), 1u);
  EXPECT_EQ(deployment_->Committed(group() + "-delay", deployment_->topic("-delay-1h"), 0).first, 2);
}

TEST_F(KafkaQueueTest, AnEventIsKeyedByItsIdOnTheTopicOfItsPriority) {
  Result<std::unique_ptr<Queue>> producer = TryOpen(Role::kProducer);
  ASSERT_TRUE(producer.ok());
  ASSERT_TRUE(
      PublishAndWait(
          **producer,
          {.id = "id-1", .priority = Priority::kHigh, .accepted_at_unix_ms = 7, .value = "value", .traceparent = {}})
          .ok());
  EXPECT_TRUE((*producer)->Stop(BootTimeMs() + kPatienceMs));
  const auto records = deployment_->ReadAll(topic() + "-high");
  ASSERT_EQ(records.size(), 1u);
  EXPECT_EQ(records[0].key, "id-1");
  EXPECT_EQ(records[0].value, "value");
  const HeaderList expected = {{"postbus-fmt", "1"}, {"postbus-id", "id-1"}, {"postbus-accepted-at", "7"}};
  EXPECT_EQ(records[0].headers, expected);
}

TEST_F(KafkaQueueTest, WaitingIsTheTrueBacklog) {
  WriteEvents(20);
  auto host = OpenHost();
  std::vector<QueuedEvent> turns(10);
  for (QueuedEvent& turn : turns) ASSERT_TRUE(host->Next(turn));
  for (size_t i = 1; i < 10; ++i) host->Complete(turns[i]);
  EXPECT_TRUE(WaitUntil([&] { return host->queue().Stats().waiting == 10; })) << host->queue().Stats().waiting;
  EXPECT_EQ(host->queue().Stats().assigned_partitions, 3);
  host->Complete(turns[0]);
  EXPECT_EQ(Drain(*host, 10).size(), 10u);
  EXPECT_TRUE(WaitUntil([&] { return host->queue().Stats().waiting == 0; }));
  EXPECT_TRUE(host->Stop());
}

TEST_F(KafkaQueueTest, AQueueDestroyedWithoutAStopEndsSoonAndLosesNothing) {
  WriteEvents(10);
  const int64_t begin = BootTimeMs();
  {
    auto host = OpenHost();
    QueuedEvent event;
    ASSERT_TRUE(host->Next(event));
  }
  EXPECT_LT(BootTimeMs() - begin, 10'000);
  auto host = OpenHost();
  EXPECT_EQ(Drain(*host, 10), Range(0, 10));
  EXPECT_TRUE(host->Stop());
}

// Topics whose limit is far below what was written: an operator's mistake.
class SmallTopics : public KafkaQueueTest {
 protected:
  void Shrink(const std::string& suffix) {
    deployment_->SetTopic(deployment_->topic(suffix), "max.message.bytes", "2000");
  }

  void TakeOne(TestHost& host, QueuedEvent& event) {
    deployment_->Write(topic(), 0, "the key", large_, {{"postbus-id", "id-1"}});
    ASSERT_TRUE(host.Next(event));
  }

  const std::string large_ = std::string(5000, 'x');
};

TEST_F(SmallTopics, ADeadLetterThatIsTooLargePointsToItsRecord) {
  Shrink("-dlq");
  auto host = OpenHost();
  QueuedEvent event;
  TakeOne(*host, event);
  host->shard().DeadLetter(event.turn, {.recipients = {0b1},
                                        .attempt = 1,
                                        .outcome_class = "rejected_message",
                                        .message = "no",
                                        .id = {},
                                        .value = event.value});
  host->Complete(event);
  EXPECT_TRUE(WaitUntil([&] { return host->queue().Stats().completed == 1; }));
  EXPECT_EQ(host->queue().Stats().dead_lettered, 1u);
  EXPECT_TRUE(host->Stop());
  const auto letters = deployment_->ReadAll(deployment_->topic("-dlq"));
  ASSERT_EQ(letters.size(), 1u);
  EXPECT_EQ(letters[0].key, "the key");
  EXPECT_EQ(letters[0].value, "");
  EXPECT_EQ(letters[0].Header("postbus-pointer"), topic() + "/0/0");
  EXPECT_EQ(letters[0].Header("postbus-class"), "rejected_message");
}

TEST_F(SmallTopics, ADeferredCopyThatIsTooLargeIsADeadLetter) {
  Shrink("-delay-1h");
  auto host = OpenHost();
  QueuedEvent event;
  TakeOne(*host, event);
  host->shard().Defer(event.turn, {.recipients = {0b1},
                                   .due_unix_ms = UnixTimeMs() + 3'660'000,  // still an hour away when it is put off
                                   .attempt = 1,
                                   .outcome_class = "transient",
                                   .value = event.value});
  host->Complete(event);
  EXPECT_TRUE(WaitUntil([&] { return host->queue().Stats().completed == 1; }));
  EXPECT_TRUE(host->Stop());
  EXPECT_EQ(host->queue().Stats().deferred, 0u);
  const auto letters = deployment_->ReadAll(deployment_->topic("-dlq"));
  ASSERT_EQ(letters.size(), 1u);
  EXPECT_EQ(letters[0].Header("postbus-class"), "too_large");
  EXPECT_EQ(letters[0].value, large_);
}

// Not even a pointer fits: the partition stands still with an alarm, and goes on when the topic is mended.
TEST_F(SmallTopics, ADeadLetterThatCannotBeWrittenStopsThePartitionUntilItCan) {
  deployment_->SetTopic(deployment_->topic("-dlq"), "max.message.bytes", "10");
  auto host = OpenHost();
  QueuedEvent event;
  TakeOne(*host, event);
  host->shard().DeadLetter(event.turn, {.recipients = {0b1},
                                        .attempt = 1,
                                        .outcome_class = "rejected_message",
                                        .message = "no",
                                        .id = {},
                                        .value = event.value});
  host->Complete(event);
  EXPECT_TRUE(WaitUntil([&] { return host->queue().Stats().stopped_partitions == 1; }));
  EXPECT_NE(alarms().find("a dead letter cannot be written"), std::string::npos) << alarms();
  WriteEvents(1);
  EXPECT_FALSE(host->Next(event, 500));
  EXPECT_EQ(host->queue().Stats().completed, 0u);
  EXPECT_LE(deployment_->Committed(group(), topic(), 0).first, 0);

  deployment_->SetTopic(deployment_->topic("-dlq"), "max.message.bytes", "2097152");
  EXPECT_TRUE(host->Next(event));
  host->Complete(event);
  EXPECT_TRUE(WaitUntil([&] { return host->queue().Stats().completed == 2; }));
  EXPECT_TRUE(host->Stop());
  EXPECT_EQ(deployment_->ReadAll(deployment_->topic("-dlq")).size(), 1u);
}

}  // namespace
}  // namespace postbus::kafka
