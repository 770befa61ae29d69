#include "queue/kafka/partition.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>

namespace postbus::kafka {
namespace {

// Without a fetch queue: what commits, permits and the end of an assignment do to it.
std::shared_ptr<Partition> Restored() {
  // 10 and 12 are to be done, 11 and 13 are.
  const OffsetMap map = {10, 14, {{10, false}, {12, false}}};
  return std::make_shared<Partition>("topic", 0, map, nullptr);
}

TEST(Partition, CommitsOnlyNews) {
  const auto partition = Restored();
  EXPECT_FALSE(partition->TakeSnapshot());
  partition->Complete(12);
  const auto snapshot = partition->TakeSnapshot();
  ASSERT_TRUE(snapshot);
  EXPECT_EQ(snapshot->base, 10);
  EXPECT_TRUE(snapshot->map.starts_with("M1."));
  EXPECT_EQ(partition->uncommitted(), 1u);
  EXPECT_TRUE(partition->TakeSnapshot()) << "until it is acknowledged";
  partition->Committed(*snapshot);
  EXPECT_FALSE(partition->TakeSnapshot());
  EXPECT_EQ(partition->uncommitted(), 0u);
}

TEST(Partition, ACommitFromBeforeTheQuestionDoesNotAnswerIt) {
  const auto partition = Restored();
  partition->Complete(12);
  const auto before = partition->TakeSnapshot();
  partition->AskByCommit();
  partition->Committed(*before);
  EXPECT_TRUE(partition->asking());
  const auto after = partition->TakeSnapshot();
  ASSERT_TRUE(after) << "asked though there is nothing new";
  partition->Committed(*after);
  EXPECT_FALSE(partition->asking());
  EXPECT_FALSE(partition->TakeSnapshot());
}

TEST(Partition, WithoutAMapOnlyTheBaseIsCommitted) {
  const auto partition = Restored();
  partition->Complete(12);
  partition->CommitWithoutMap();
  const auto snapshot = partition->TakeSnapshot();
  ASSERT_TRUE(snapshot);
  EXPECT_EQ(snapshot->base, 10);
  EXPECT_EQ(snapshot->map, "");
}

TEST(Partition, OnceClosedACompletionChangesNothing) {
  const auto partition = Restored();
  partition->permit.Extend(BootTimeMs() + 60'000);
  partition->BeginRevoke();
  EXPECT_FALSE(partition->permit.Valid(BootTimeMs()));
  partition->Complete(12);
  EXPECT_TRUE(partition->TakeSnapshot()) << "until it is closed, what ends counts";
  partition->Close();
  partition->Complete(10);
  EXPECT_FALSE(partition->TakeSnapshot());
  EXPECT_EQ(partition->uncommitted(), 1u);
}

TEST(Partition, TellsAnAlarmOnce) {
  const auto partition = Restored();
  EXPECT_FALSE(partition->stopped());
  partition->StopForGood("first");
  partition->StopForGood("second");
  EXPECT_TRUE(partition->stopped());
  EXPECT_EQ(partition->TakeAlarm(), "topic [0] is stopped: first");
  EXPECT_FALSE(partition->TakeAlarm());
}

TEST(Partition, WaitingAndBacklog) {
  const auto partition = Restored();
  EXPECT_EQ(partition->Backlog(20), 2 + 6);
  EXPECT_EQ(partition->Waiting(20), 2 + 6);
  partition->Complete(12);
  EXPECT_EQ(partition->Backlog(20), 1 + 6);
  EXPECT_EQ(partition->Backlog(-1), 1) << "the log's end is not known yet";
}

class PartitionWithJournal : public testing::Test {
 protected:
  PartitionWithJournal() {
    std::string directory = std::filesystem::temp_directory_path() / "postbus-partition-XXXXXX";
    directory_ = mkdtemp(directory.data());
    auto journal = Journal::Open(directory_ + "/j", 1, nullptr);
    EXPECT_TRUE(journal.ok());
    journal_ = std::move(*journal);
  }
  ~PartitionWithJournal() override { std::filesystem::remove_all(directory_); }

  std::shared_ptr<Partition> Assigned() {
    return std::make_shared<Partition>("topic", 0, OffsetMap{10, 14, {{10, false}, {12, false}}}, nullptr, journal_);
  }
  PastTurn Begin(int64_t offset) {
    PastTurn past;
    EXPECT_TRUE(journal_->Begin(offset, 1, marks_, past));
    return past;
  }

  std::string directory_;
  std::shared_ptr<Journal> journal_;
  TurnMarks marks_;
};

TEST_F(PartitionWithJournal, MarksAreKeptUntilTheirCompletionIsCommitted) {
  const auto partition = Assigned();
  Begin(12);
  partition->AskByCommit();
  const auto without_it = partition->TakeSnapshot();
  partition->Complete(12, marks_);
  partition->Committed(*without_it);
  EXPECT_TRUE(journal_->full());
  const auto with_it = partition->TakeSnapshot();
  ASSERT_TRUE(with_it);
  partition->Committed(*with_it);
  EXPECT_FALSE(journal_->full());
}

TEST_F(PartitionWithJournal, ACommitWithoutAMapReleasesWhatIsBelowItsBase) {
  const auto partition = Assigned();
  partition->CommitWithoutMap();
  Begin(12);
  partition->Complete(12, marks_);
  partition->Committed(*partition->TakeSnapshot());
  EXPECT_TRUE(journal_->full()) << "10 is to be done yet";
}

TEST_F(PartitionWithJournal, WhatEndedAfterItsAssignmentIsOverInTheNext) {
  const auto first = Assigned();
  Begin(12);
  first->BeginRevoke();
  first->Close();
  first->Complete(12, marks_);
  const auto second = Assigned();
  EXPECT_TRUE(Begin(12).over);
}

TEST_F(PartitionWithJournal, AnUncommittedCompletionIsOverInTheNextAssignment) {
  const auto first = Assigned();
  Begin(12);
  first->Complete(12, marks_);
  const auto snapshot = first->TakeSnapshot();
  first->BeginRevoke();
  first->Close();
  const auto second = Assigned();
  first->Committed(*snapshot);  // its answer comes late
  EXPECT_TRUE(Begin(12).over);
}

}  // namespace
}  // namespace postbus::kafka
