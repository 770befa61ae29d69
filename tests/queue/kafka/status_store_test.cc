#include "queue/kafka/status_store.h"

#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <array>
#include <filesystem>

#include "event/clock.h"

namespace postbus::kafka {
namespace {

void Execute(const std::string& path, const char* sql) {
  Result<sqlite::Database> file = sqlite::Database::Open(path);
  ASSERT_TRUE(file.ok() && file->Execute(sql));
}

StoredStatus Stored(const std::string& id, Change change, int32_t partition, int64_t offset,
                    int64_t at_unix_ms = UnixTimeMs()) {
  StatusRecord record;
  record.id = id;
  record.change = change;
  record.at_unix_ms = at_unix_ms;
  StoredStatus stored{partition, offset, id, at_unix_ms, {}};
  EncodeStatus(record, stored.record);
  return stored;
}
StoredStatus To(std::vector<uint64_t> hashes, StoredStatus stored) {
  stored.recipient_hashes = std::move(hashes);
  return stored;
}
StoredStatus Own(const std::string& id) { return Stored(id, Change::kQueued, StoredStatus::kOwn, 0); }

class StatusStoreTest : public testing::Test {
 protected:
  StatusStoreTest() {
    std::string directory = std::filesystem::temp_directory_path() / "postbus-status-XXXXXX";
    directory_ = mkdtemp(directory.data());
    Open();
  }
  ~StatusStoreTest() override { std::filesystem::remove_all(directory_); }

  void Open() {
    store_.reset();
    auto store = StatusStore::Open(directory_ / "status.db");
    ASSERT_TRUE(store.ok()) << store.status().message();
    store_ = std::move(*store);
  }
  void Write(const std::vector<StoredStatus>& records) { ASSERT_TRUE(store_->Write(records).ok()); }

  // "queued sent", or why not.
  std::string Find(const std::string& id) {
    const auto found = store_->Find(id);
    if (!found.ok()) return std::string(found.status().message());
    std::string names;
    for (const StatusRecord& record : *found) names.append(names.empty() ? "" : " ").append(ChangeName(record.change));
    return names;
  }
  // "a b"
  std::string IdsTo(uint64_t hash, size_t limit = 10) {
    const auto found = store_->IdsTo(hash, limit);
    if (!found.ok()) return std::string(found.status().message());
    std::string ids;
    for (const std::string& id : *found) ids.append(ids.empty() ? "" : " ").append(id);
    return ids;
  }
  int64_t Next(int32_t partition) {
    const auto offsets = store_->NextOffsets();
    return offsets.ok() && offsets->count(partition) > 0 ? offsets->at(partition) : -1;
  }

  std::filesystem::path directory_;
  std::unique_ptr<StatusStore> store_;
};

TEST_F(StatusStoreTest, KeepsWhatItIsGivenOverARestart) {
  Write({Own("a"), Stored("b", Change::kSent, 3, 41), Stored("a", Change::kSent, 0, 7)});
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ(Find("a"), "queued sent");
    EXPECT_EQ(Find("b"), "sent");
    EXPECT_EQ(store_->Find("c").status().kind(), ErrorKind::kNotFound);
    EXPECT_EQ(Next(3), 42);
    EXPECT_EQ(Next(0), 8);
    EXPECT_EQ(Next(1), -1);
    Open();
  }
  struct stat info {};
  ASSERT_EQ(stat((directory_ / "status.db").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
}

TEST_F(StatusStoreTest, AcceptedComesFirstAndOnceWheneverItIsWritten) {
  Write({Stored("a", Change::kDeferred, 0, 1), Stored("a", Change::kSent, 0, 2)});
  Write({Own("a"), Own("a")});
  Write({Own("a")});
  EXPECT_EQ(Find("a"), "queued deferred sent");
}

TEST_F(StatusStoreTest, ARecordThatIsReadAgainStandsOnce) {
  const std::vector<StoredStatus> records = {Stored("a", Change::kDeferred, 0, 1), Stored("a", Change::kSent, 0, 2)};
  Write(records);
  Write(records);
  EXPECT_EQ(Find("a"), "deferred sent");
}

TEST_F(StatusStoreTest, WhatIsOlderThanTheTopicKeepsItGoes) {
  const int64_t day = 86'400'000;
  Write({Stored("old", Change::kSent, 0, 1, UnixTimeMs() - 8 * day), Stored("young", Change::kSent, 0, 2)});
  EXPECT_EQ(Find("young"), "sent");
  EXPECT_EQ(store_->Find("old").status().kind(), ErrorKind::kNotFound);
}

TEST_F(StatusStoreTest, FindsTheEmailsToARecipientLastFirst) {
  const uint64_t ada = ~uint64_t{0};
  const uint64_t bob = 2;
  Write({To({ada}, Own("a")), To({ada, bob}, Own("b")), To({bob}, Own("c")), Own("nobody's")});
  EXPECT_EQ(IdsTo(ada), "b a");
  Write({To({ada}, Stored("a", Change::kSent, 0, 1)), To({bob}, Own("b")), To({ada}, Own("d"))});
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ(IdsTo(ada), "d a b") << "each once";
    EXPECT_EQ(IdsTo(bob), "c b") << "our own that was there already says nothing new";
    EXPECT_EQ(IdsTo(ada, 2), "d a");
    EXPECT_EQ(IdsTo(3), "");
    Open();
  }
}

TEST_F(StatusStoreTest, RecipientsGoWithTheirRecords) {
  const int64_t day = 86'400'000;
  Write({To({1}, Stored("old", Change::kSent, 0, 1, UnixTimeMs() - 8 * day))});
  EXPECT_EQ(IdsTo(1), "");
  // Its number is used again.
  Write({To({2}, Stored("young", Change::kSent, 0, 2))});
  EXPECT_EQ(IdsTo(1), "");
  EXPECT_EQ(IdsTo(2), "young");
}

TEST_F(StatusStoreTest, TwoProcessesMayUseOneFile) {
  auto other = StatusStore::Open(directory_ / "status.db");
  ASSERT_TRUE(other.ok());
  const std::array<StoredStatus, 1> theirs = {Stored("a", Change::kSent, 0, 1)};
  ASSERT_TRUE((*other)->Write(theirs).ok());
  Write({Own("a"), theirs[0]});
  EXPECT_EQ(Find("a"), "queued sent");
}

TEST_F(StatusStoreTest, AFileThatIsNoneSaysThatItMayBeDeleted) {
  FILE* file = fopen((directory_ / "other.db").c_str(), "w");
  fputs(std::string(5000, 'x').c_str(), file);
  fclose(file);
  const auto refused = StatusStore::Open(directory_ / "other.db");
  ASSERT_FALSE(refused.ok());
  EXPECT_NE(refused.status().message().find("may be deleted"), std::string_view::npos) << refused.status().message();
}

TEST_F(StatusStoreTest, AFileOfTheNextMinorIsUsedAndKeepsWhatIsNew) {
  Write({Stored("a", Change::kSent, 0, 7)});
  store_.reset();
  Execute(directory_ / "status.db",
          "ALTER TABLE status ADD COLUMN new_column TEXT NOT NULL DEFAULT 'x'; CREATE TABLE new_table (a);"
          "PRAGMA user_version=3");
  Open();
  Write({Own("b"), Stored("b", Change::kSent, 0, 8)});
  EXPECT_EQ(Find("a"), "sent");
  EXPECT_EQ(Find("b"), "queued sent");
  store_.reset();
  Result<sqlite::Database> file = sqlite::Database::Open(directory_ / "status.db");
  EXPECT_EQ(*file->ReadNumber("PRAGMA user_version"), 3);
  EXPECT_EQ(*file->ReadNumber("SELECT count(*) FROM new_table"), 0);
}

TEST_F(StatusStoreTest, AFileOfBeforeThereWereVersionsIsUsed) {
  Write({Stored("a", Change::kSent, 0, 7)});
  store_.reset();
  Execute(directory_ / "status.db", "DROP TABLE status_recipients; PRAGMA user_version=0");
  Open();
  Write({To({1}, Stored("b", Change::kSent, 0, 8))});
  EXPECT_EQ(Find("a"), "sent");
  EXPECT_EQ(IdsTo(1), "b");
}

TEST_F(StatusStoreTest, AFileOfANewerMajorIsRefusedAndMayBeDeleted) {
  store_.reset();
  Execute(directory_ / "status.db", "PRAGMA user_version=100");
  const auto refused = StatusStore::Open(directory_ / "status.db");
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.status().kind(), ErrorKind::kInvalid);
  EXPECT_NE(refused.status().message().find("has format 1.0, this postbus knows 0.2"), std::string_view::npos)
      << refused.status().message();
  EXPECT_NE(refused.status().message().find("may be deleted"), std::string_view::npos);
}

TEST_F(StatusStoreTest, WhatOnlyANewerPostbusReadsIsKeptForIt) {
  StoredStatus newer = Stored("a", Change::kSent, 0, 7);
  newer.record = R"({"v":1,"id":"a","event":"read_by_recipient","status":"sent"})";
  Write({newer, Stored("a", Change::kSent, 0, 8)});
  EXPECT_EQ(Find("a"), "sent");
  store_.reset();
  Result<sqlite::Database> file = sqlite::Database::Open(directory_ / "status.db");
  EXPECT_EQ(*file->ReadNumber("SELECT count(*) FROM status WHERE record LIKE '%read_by_recipient%'"), 1);
}

}  // namespace
}  // namespace postbus::kafka
