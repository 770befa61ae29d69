// queue/sqlite/shard.h - one shard's face of the queue file: reads leases on a connection of its own, keeps the turns
// under way, and gives the writer those that have ended. Called by the shard's thread; Close by any, when that has
// ended.
#pragma once

#include <array>
#include <atomic>
#include <deque>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "queue/journal.h"
#include "queue/queue.h"
#include "queue/sqlite/database.h"
#include "queue/sqlite/dispenser.h"
#include "queue/sqlite/rows.h"
#include "queue/sqlite/writer.h"

namespace postbus::sqlite {

class Shard : public ShardQueue {
 public:
  // `dispenser`, `writer`, `journal` and `old_claims` outlive it; `index` is the shard's in the dispenser.
  // `old_claims`: the rows that a dead process had claimed.
  static Result<std::unique_ptr<Shard>> Open(const std::string& path, size_t index, Dispenser& dispenser,
                                             Writer& writer, Journal& journal,
                                             const std::unordered_set<int64_t>& old_claims, const QueueLog& log);

  using ShardQueue::Next;
  bool Next(QueuedEvent& out, Which which) override;
  void Defer(TurnId turn, const DeferredCopy& copy) override;
  void DeadLetter(TurnId turn, const DeadLetterCopy& copy) override;
  void Report(TurnId turn, const StatusRecord& record) override;
  void Complete(TurnId turn) override;
  void Abandon(TurnId turn) override;
  void TakeRevoked(std::vector<TurnId>& turns) override;
  void Claim(TurnId turn) override;
  void Unclaim(TurnId turn) override;
  void TakeClaimed(std::vector<TurnId>& turns) override;
  void Flush() override;

  // Next yields nothing more. Any thread.
  void StopConsuming() { consuming_.store(false); }
  // Closes the file.
  void Close();

  uint64_t consumed() const { return consumed_.load(); }
  // Turns under way, by the kind of their rows; ended ones count until Flush.
  int64_t fresh_turns() const { return fresh_turns_.load(); }
  int64_t deferred_turns() const { return deferred_turns_.load(); }

 private:
  struct Turn {
    EventHeaders headers;
    Settlement settlement;
    bool claimed_by_another = false;  // such a claim is not ours to take back
    int claims_on_the_way = 0;        // to the file
  };
  // What was leased of a priority and not begun.
  struct Lane {
    std::deque<EventRow> fresh;
    std::deque<EventRow> due;
    bool due_next = false;  // both have some: they take turns
    int credit = 0;         // of the weighted round robin

    bool empty() const { return fresh.empty() && due.empty(); }
  };

  Shard(Database database, size_t index, Dispenser& dispenser, Writer& writer, Journal& journal,
        const std::unordered_set<int64_t>& old_claims, const QueueLog& log);
  Status Prepare();
  bool TakeRow(Which which, EventRow& row);
  bool Begin(EventRow& row, QueuedEvent& out);
  void CountTurn(const RowRef& row, int64_t change);

  const size_t index_;
  Dispenser& dispenser_;
  Writer& writer_;
  Journal& journal_;
  const std::unordered_set<int64_t>& old_claims_;
  const QueueLog& log_;

  Database database_;
  std::array<Statement, kPriorities> read_fresh_;
  Statement read_due_;
  std::array<Lane, kPriorities> lanes_;
  std::unordered_map<TurnId, Turn> turns_;
  HostWork work_;  // for the writer
  std::vector<TurnId> written_;

  std::atomic<bool> consuming_{true};
  std::atomic<uint64_t> consumed_{0};
  std::atomic<int64_t> fresh_turns_{0}, deferred_turns_{0};
};

}  // namespace postbus::sqlite
