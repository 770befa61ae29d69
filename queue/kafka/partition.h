// queue/kafka/partition.h - one assigned partition: its fetch queue, its tracker and the permit to send what it yields.
//
// Thread-safe. The reader (a shard, the delay service) takes and settles records, delivery reports settle them from the
// producers' threads, the control thread snapshots, stops and closes. Lives as long as anybody holds it: turns outlive
// the assignment. Closed before its client is destroyed.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "event/clock.h"
#include "queue/journal.h"
#include "queue/kafka/offset_tracker.h"
#include "queue/kafka/rdkafka_handles.h"
#include "queue/queue.h"

namespace postbus::kafka {

class Partition {
 public:
  // `fetch_queue` is not forwarded. `journal` may be null.
  Partition(std::string topic, int32_t number, const OffsetMap& start, QueuePtr fetch_queue,
            std::shared_ptr<Journal> journal = nullptr);

  const std::string topic;
  const int32_t number;
  const std::string name;   // "topic [number]"
  const int64_t start_end;  // what is below this may have been done before the assignment: see OffsetMap::end
  SendPermit permit;

  struct Taken {
    MessagePtr message;                          // null: none now
    Admission admission = Admission::kDispatch;  // or kClaimed; past.claim_is_ours says by whom
    TurnMarks marks;
    PastTurn past;
  };

  // The next record whose turn may begin. An error of the fetch (out of range, topic gone) stops the partition.
  Taken Take();

  // The record's turn is over. True if a closed window or a hold ended by it, so that there may be news for the reader.
  bool Complete(int64_t offset, TurnMarks marks = {});
  // It has ended without that: the record will come again.
  void Abandon(TurnMarks marks);

  // At most once: the record's claim is to be committed, together with others'. `ticket` is given back by TakeClaimed
  // when it is durable; true: it is already. On a closed partition no claim becomes durable, and none is taken back.
  // REQUIRES: the record was taken and its turn is not over.
  [[nodiscard]] bool Claim(int64_t offset, uint64_t ticket);
  void Unclaim(int64_t offset, uint64_t ticket, TurnMarks marks = {});
  void TakeClaimed(std::vector<uint64_t>& tickets);
  // Somebody waits for a commit.
  bool claims_wait() const { return claims_wait_.load(); }

  // Turns the reader has open; it keeps this count itself.
  void AddTurn() { turns_.fetch_add(1); }
  void RemoveTurn() { turns_.fetch_sub(1); }
  int turns() const { return turns_.load(); }

  // No more records are taken until the partition is assigned anew: what is there is more than this version can judge,
  // or cannot be fetched. `reason` is a sentence for the alarm.
  void StopForGood(std::string reason);
  // While held (counted) no records are taken: a dead letter cannot be written.
  void Hold();
  void Release();
  bool stopped() const;  // for good or held
  // The alarm that was not told yet.
  std::optional<std::string> TakeAlarm();

  // The assignment is about to end: no more records are taken, turns may still end.
  void BeginRevoke();
  // The assignment is over: the permit is void, the fetch queue is destroyed, completions change nothing any more.
  void Close();
  bool closed() const;
  bool revoking() const;

  // What a commit should say, if it would say something new.
  std::optional<Snapshot> TakeSnapshot();
  void Committed(const Snapshot& snapshot);
  // Whether the partition is still ours is to be asked by a commit made from now on, even if there is nothing new to
  // say.
  void AskByCommit();
  bool asking() const;  // until that commit was taken
  // The broker refused the map's size: the next snapshots carry only the base.
  void CommitWithoutMap();

  uint64_t uncommitted() const;
  // Records that are neither done nor begun; `log_end` as known to the client, -1 = unknown.
  int64_t Waiting(int64_t log_end) const;
  // Records that are not done.
  int64_t Backlog(int64_t log_end) const;

 private:
  enum class State { kOpen, kRevoking, kClosed };

  void StopLocked(std::string reason);
  void CompleteLocked(int64_t offset, TurnMarks marks);

  const std::shared_ptr<Journal> journal_;
  std::atomic<int> turns_{0};
  std::atomic<bool> claims_wait_{false};

  mutable std::mutex mutex_;  // guards what follows
  OffsetTracker tracker_;
  QueuePtr fetch_queue_;
  State state_ = State::kOpen;
  bool stopped_for_good_ = false;
  int holds_ = 0;
  bool window_closed_ = false;  // the reader found it so
  enum class Question { kNone, kOpen, kAsked } question_ = Question::kNone;
  bool without_map_ = false;
  // Completed, and not known to be committed: released when it is. In the order of completion.
  struct Uncommitted {
    int64_t offset;
    TurnMarks marks;
  };
  std::deque<Uncommitted> uncommitted_;
  struct WaitingClaim {
    uint64_t generation;  // of the tracker; ascending
    uint64_t ticket;
  };
  std::deque<WaitingClaim> claims_;
  uint64_t committed_ = 0;  // how many completions were before those
  std::optional<std::string> alarm_;
};

using PartitionPtr = std::shared_ptr<Partition>;
using PartitionList = std::vector<PartitionPtr>;

}  // namespace postbus::kafka
