// queue/kafka/offset_tracker.h - what to commit when the records of one partition finish out of order.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "queue/kafka/offset_map.h"

namespace postbus::kafka {

// What to do with a record that was fetched.
enum class Admission {
  kDispatch,      // new, or restored as incomplete: it is the caller's until Complete()
  kClaimed,       // restored as claimed: not to be sent again; the caller's to settle otherwise, until Complete()
  kComplete,      // its turn is over: drop it
  kInFlight,      // dispatched already and not complete: drop it
  kWindowClosed,  // not taken: begin the same record again once MayDispatch() is true
};

enum class Completion {
  kCompleted,  // the record's turn is over, and the next snapshot says so
  kRepeated,   // it was over already; nothing changed
  kUnknown,    // not begun by this tracker: a job of an earlier assignment; nothing changed. Who remembers that job
               // until Begin() yields its offset again can complete it then instead of sending a second time
};

// What to commit for the partition: `base` as the offset and `map` as its metadata, always together.
struct Snapshot {
  int64_t base = 0;
  std::string map;
  uint64_t generation = 0;  // of the tracker's state
  uint64_t completed = 0;   // completions counted so far
};

// Follows the records of one assigned partition from fetch to completion, and says at any time what a commit may vouch
// for: the base (the lowest offset still incomplete) and a map of what is complete above it. A commit made of any
// snapshot, also a late one, vouches only for completed work; records that do not exist count as complete.
//
// Records are begun in the order of the fetch, which starts at the base of the restored map. Where two consecutive
// offsets are not neighbours there is no record between them (compaction, transaction markers, aborted transactions).
// An offset seen again is kComplete or kInFlight, and nothing is concluded from the jump back or from the one forward
// to where the fetch was. Records are completed in any order, also by a job of an earlier assignment.
//
// The window is hard: whatever the caller does, at most kMaxIncomplete records are incomplete and the map fits into
// kMaxMapText. A new record is taken while fewer are incomplete and the next offset is less than kMaxSpan above the
// base; a restored one always. After kWindowClosed nothing above that record is taken before it, so that dropping it
// stops the partition and does not lose the mail.
//
// One tracker for each assignment: begin a new one from the committed map when the partition comes back. Not
// thread-safe: the shard that owns the partition calls it; snapshots are values and travel freely. Begin and Complete
// cost O(log in flight), amortised, and do not allocate once the array has grown (< 2 100 entries of 16 bytes); Take is
// linear in what is incomplete.
class OffsetTracker {
 public:
  // REQUIRES: restored.IsWellFormed(), and it is what is committed for the partition
  explicit OffsetTracker(const OffsetMap& restored);

  // A second one would commit against the first.
  OffsetTracker(const OffsetTracker&) = delete;
  OffsetTracker& operator=(const OffsetTracker&) = delete;

  // True if Begin() would take the next record, whatever its offset. While false, fetch no more.
  bool MayDispatch() const;

  // Tells that the record at `offset` was fetched.
  // REQUIRES: 0 <= offset < INT64_MAX; no record of the partition was left out since the one begun before
  Admission Begin(int64_t offset);

  // Tells that the turn of the record at `offset` is over: settled for good, nothing less.
  Completion Complete(int64_t offset);

  // Marks the record at `offset` as claimed. It may be handed over once committed_generation() has reached the value
  // returned. Nothing is returned if the record is not in flight here.
  [[nodiscard]] std::optional<uint64_t> Claim(int64_t offset);

  // Takes back a claim made here, because it is certain that the record was not handed over. It stays in flight.
  void Unclaim(int64_t offset);

  // What a commit may say now.
  Snapshot Take() const;

  // The same without a map, for a broker that refuses it (offset.metadata.max.bytes set lower). Its commit counts only
  // for what is below the base (rather less, with gaps) and makes no claim durable, and the tracker stays dirty. What a
  // map stored before said above the base, claims too, is lost with it: last resort, with an alarm.
  Snapshot TakeBase() const;

  // Tells that the broker has acknowledged the commit of `snapshot`. Nothing needs telling of one that failed.
  // REQUIRES: `snapshot` was taken from this tracker
  void Committed(const Snapshot& snapshot);

  // True if a snapshot taken now would say more than the one committed last.
  bool dirty() const { return generation_ != committed_generation_; }
  uint64_t committed_generation() const { return committed_generation_; }

  // Completions told to this tracker that no acknowledged commit has vouched for: what a new owner would repeat.
  uint64_t uncommitted() const { return completed_ - committed_completed_; }

  int64_t base() const { return base_; }

  // Records begun and not complete.
  size_t in_flight() const { return live_ - unseen_; }

  // The same, and those restored as incomplete that have not been fetched again.
  size_t incomplete() const { return live_; }

  // Offsets from the base to the highest one begun or restored.
  int64_t span() const { return Frontier() - base_; }

  // Records still to be done when the log ends before `log_end`; lag less what is complete above the base.
  int64_t Backlog(int64_t log_end) const;

 private:
  enum class State : uint8_t { kUnseen, kInFlight, kDone };

  struct Entry {
    int64_t offset;
    State state;  // kUnseen: restored, not fetched again yet
    bool claimed;
  };

  Entry* FindLive(int64_t offset);
  size_t LowerBound(int64_t offset) const;
  int64_t Frontier() const;
  void DropUnseenBelow(int64_t offset);
  void Append(int64_t offset);
  void Finish(Entry* entry);
  void AdvanceBase();

  // Ascending, from head_ on; entries_[head_] is live. The others may be done: they go when they are the majority.
  std::vector<Entry> entries_;
  size_t head_ = 0;
  size_t live_ = 0;    // entries not done
  size_t unseen_ = 0;  // of them: restored and not fetched again; they are at next_ or above
  size_t claimed_ = 0;

  int64_t base_;          // the offset of entries_[head_]; without live entries the next one that may be incomplete
  int64_t next_;          // every record below was begun or does not exist
  int64_t complete_end_;  // one past the highest complete offset; all below it are complete but the live entries
  std::optional<int64_t> refused_;  // the record that met a closed window

  uint64_t generation_ = 0;  // counts the changes of what Take() returns
  uint64_t committed_generation_ = 0;
  uint64_t completed_ = 0;
  uint64_t committed_completed_ = 0;
};

}  // namespace postbus::kafka
