// Following the status topic of a real broker.
#include "queue/kafka/status_follower.h"

#include <filesystem>

#include "queue/sqlite/database.h"
#include "tests/queue/kafka/kafka_test.h"

namespace postbus::kafka {
namespace {

class StatusFollowerTest : public KafkaTest {
 protected:
  StatusFollowerTest() : KafkaTest(3) {}

  void SetUp() override {
    KafkaTest::SetUp();
    if (deployment_ != nullptr) deployment_->MakeTopics();
  }

  std::unique_ptr<StatusHistory> Follow() {
    auto followed = FollowStatus(config_, [](LogLevel, std::string_view) {});
    if (!followed.ok()) throw std::runtime_error(std::string(followed.status().message()));
    return std::move(*followed);
  }
  void WriteChange(const std::string& id, Change change, int64_t written_unix_ms = 0, uint64_t recipient = 1) {
    StatusRecord record;
    record.id = id;
    record.change = change;
    record.recipients = RecipientSet::All(1);
    record.recipient_hashes = {recipient};
    record.at_unix_ms = UnixTimeMs();
    std::string value;
    EncodeStatus(record, value);
    deployment_->Write(deployment_->topic("-status"), -1, id, value, {}, written_unix_ms);
  }

  static void NoteQueued(StatusHistory& history, const std::string& id) {
    StatusRecord queued;
    queued.id = id;
    queued.recipients = RecipientSet::All(1);
    queued.recipient_hashes = {1};
    queued.at_unix_ms = UnixTimeMs();
    history.NoteQueued({&queued, 1});
  }

  // "queued sent"; "not found", "unavailable".
  static std::string Find(StatusHistory& history, const std::string& id) {
    const auto found = history.Find(id);
    if (!found.ok()) return found.status().kind() == ErrorKind::kNotFound ? "not found" : "unavailable";
    std::string names;
    for (const StatusRecord& record : *found) names.append(names.empty() ? "" : " ").append(ChangeName(record.change));
    return names;
  }
  static void ExpectSoon(StatusHistory& history, const std::string& id, const std::string& expected) {
    EXPECT_TRUE(WaitUntil([&] { return Find(history, id) == expected; })) << id << ": " << Find(history, id);
  }
};

// Its own record comes when it leaves its delay topic.
TEST_F(StatusFollowerTest, TellsOfACancelledMailThatWaitsForLater) {
  StatusRecord scheduled;
  for (const char* id : {"later", "kept"}) {
    scheduled.id = id;
    scheduled.change = Change::kScheduled;
    scheduled.recipients = RecipientSet::All(1);
    scheduled.at_unix_ms = UnixTimeMs();
    scheduled.due_unix_ms = UnixTimeMs() + 3'600'000;
    std::string value;
    EncodeStatus(scheduled, value);
    deployment_->Write(deployment_->topic("-status"), -1, id, value);
  }
  WriteChange("sent", Change::kSent);
  for (const char* id : {"later", "sent", "unknown"}) {
    deployment_->Write(deployment_->topic("-cancellations"), -1, id, "{}");
  }
  auto history = Follow();
  ExpectSoon(*history, "later", "scheduled cancelled");
  ExpectSoon(*history, "kept", "scheduled");
  ExpectSoon(*history, "sent", "sent");
  ExpectSoon(*history, "unknown", "not found");
}

TEST_F(StatusFollowerTest, KnowsWhatIsWrittenBeforeAndAfterItsStart) {
  WriteChange("before", Change::kSent);
  WriteChange("long before", Change::kSent, UnixTimeMs() - 2 * int64_t{86'400'000});
  const auto history = Follow();
  ExpectSoon(*history, "before", "sent");
  ExpectSoon(*history, "never", "not found");
  WriteChange("after", Change::kDeferred);
  ExpectSoon(*history, "after", "deferred");
  WriteChange("after", Change::kSent);
  ExpectSoon(*history, "after", "deferred sent");
}

TEST_F(StatusFollowerTest, KnowsWhatThisProcessAcceptedAtOnce) {
  const auto history = Follow();
  NoteQueued(*history, "mine");
  EXPECT_EQ(Find(*history, "mine"), "queued");
  ExpectSoon(*history, "never", "not found");
  WriteChange("mine", Change::kSent);
  ExpectSoon(*history, "mine", "queued sent");
}

TEST_F(StatusFollowerTest, KnowsTheEmailsToARecipient) {
  const auto history = Follow();
  const auto ids = [&](uint64_t recipient) {
    const auto found = history->IdsTo(recipient, 10);
    std::string names = found.ok() ? "" : "unavailable";
    for (size_t i = 0; found.ok() && i < found->size(); ++i) names += (*found)[i] + " ";
    return names;
  };
  WriteChange("theirs", Change::kSent);
  WriteChange("bob's", Change::kSent, 0, 2);
  ExpectSoon(*history, "bob's", "sent");
  EXPECT_TRUE(WaitUntil([&] { return ids(1) == "theirs "; })) << ids(1);
  EXPECT_TRUE(WaitUntil([&] { return ids(2) == "bob's "; })) << ids(2);
  NoteQueued(*history, "mine");
  EXPECT_TRUE(WaitUntil([&] { return ids(1) == "mine theirs "; })) << ids(1);
  WriteChange("theirs", Change::kDeferred);
  EXPECT_TRUE(WaitUntil([&] { return ids(1) == "theirs mine "; })) << ids(1);
}

TEST_F(StatusFollowerTest, ARestartGoesOnWhereItEnded) {
  {
    const auto history = Follow();
    NoteQueued(*history, "a");
    WriteChange("a", Change::kDeferred);
    ExpectSoon(*history, "a", "queued deferred");
  }
  WriteChange("a", Change::kSent);
  WriteChange("b", Change::kSent);
  const auto history = Follow();
  EXPECT_TRUE(Find(*history, "a").starts_with("queued deferred")) << "from the file, without waiting";
  ExpectSoon(*history, "a", "queued deferred sent");
  ExpectSoon(*history, "b", "sent");
}

TEST_F(StatusFollowerTest, ARestartWithoutItsFileReadsTheTopicAgain) {
  WriteChange("a", Change::kDeferred);
  WriteChange("a", Change::kSent);
  ExpectSoon(*Follow(), "a", "deferred sent");
  std::filesystem::remove_all(config_.state_dir);
  ExpectSoon(*Follow(), "a", "deferred sent");
}

TEST_F(StatusFollowerTest, KeepsWhatOnlyANewerPostbusReads) {
  const auto history = Follow();
  deployment_->Write(deployment_->topic("-status"), -1, "a", R"({"v":2,"email":"a"})");
  WriteChange("a", Change::kSent);
  ExpectSoon(*history, "a", "sent");
  const std::string path = config_.state_dir + "/" + config_.kafka.Prefix() + "-status.db";
  Result<sqlite::Database> file = sqlite::Database::Open(path);
  ASSERT_TRUE(file.ok()) << file.status().message();
  EXPECT_EQ(*file->ReadNumber("SELECT count(*) FROM status WHERE id = 'a' AND record LIKE '%\"v\":2%'"), 1);
}

TEST_F(StatusFollowerTest, LeavesNoTraceInTheCluster) {
  WriteChange("a", Change::kSent);
  ExpectSoon(*Follow(), "a", "sent");
  for (int partition = 0; partition < 3; ++partition) {
    EXPECT_EQ(
        deployment_->Committed(config_.kafka.group_id + "-status", deployment_->topic("-status"), partition).first, -1);
  }
}

TEST_F(StatusFollowerTest, WithoutABrokerWhatIsNotKnownIsNotDenied) {
  config_.kafka.brokers = "127.0.0.1:1";
  const auto history = Follow();
  EXPECT_EQ(Find(*history, "a"), "unavailable");
  EXPECT_EQ(history->IdsTo(1, 10).status().kind(), ErrorKind::kUnavailable) << "some is worse than none";
  NoteQueued(*history, "mine");
  EXPECT_EQ(Find(*history, "mine"), "queued");
}

}  // namespace
}  // namespace postbus::kafka
