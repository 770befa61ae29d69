// queue/sqlite/dispenser.h - hands the events of a file out to the shards of its one host, each once. Nothing is
// written for that: what was handed out is remembered here (the last number of each priority; the deferred rows under
// way), and after a crash every row still in the file begins again. The writer reports what it committed, shards take
// leases; all calls from any thread. Outlives writer and shards.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <deque>
#include <limits>
#include <mutex>
#include <string>
#include <unordered_set>
#include <vector>

#include "event/email_event.h"
#include "queue/queue.h"
#include "queue/sqlite/database.h"
#include "queue/sqlite/rows.h"

namespace postbus::sqlite {

class Dispenser {
 public:
  static constexpr int64_t kNever = std::numeric_limits<int64_t>::max();
  // A lease is at most this many rows, and stops growing at this many bytes: what a shard holds in advance.
  static constexpr size_t kLeaseRows = 64;
  static constexpr size_t kLeaseBytes = 1 << 20;

  // The two statements leases are read with, on a shard's own connection.
  static constexpr const char* kFreshSql[kPriorities] = {
      "SELECT seq, headers, value FROM high WHERE seq > ?1 ORDER BY seq",
      "SELECT seq, headers, value FROM normal WHERE seq > ?1 ORDER BY seq",
      "SELECT seq, headers, value FROM low WHERE seq > ?1 ORDER BY seq"};
  static constexpr const char* kDeferredSql =
      "SELECT seq, due, headers, value FROM deferred WHERE priority = ?1 AND (due, seq) > (?2, ?3) ORDER BY due, seq";

  // `wake_fds`: one eventfd a shard, written when an idle shard may find something.
  void SetShards(const std::vector<int>& wake_fds);

  // Appends the next rows of a priority that were published, or came due. `statement` is prepared on `database` from
  // the text above of that purpose; it is left reset.
  void LeaseFresh(Priority priority, const Database& database, Statement& statement, std::deque<EventRow>& rows);
  void LeaseDue(Priority priority, const Database& database, Statement& statement, std::deque<EventRow>& rows);

  // A shard that found nothing, or has no permit, says so before it sleeps. False: there is news, look again.
  [[nodiscard]] bool MayIdle(size_t shard);

  // Why the last lease failed, if it did; the writer has the shards look again at its next round.
  Status ReadHealth() const;

  // Keeps a deferred row from the shards, until it is Settled. False: one of them has it.
  [[nodiscard]] bool Withhold(Priority priority, int64_t seq);

  // Committed: events of a priority (by whomever); a deferred copy; the end of turns of deferred rows.
  void Published(Priority priority);
  void Deferred(Priority priority, int64_t due_unix_ms);
  void Settled(Priority priority, int64_t seq);
  // The claim of this turn of a shard; wakes it.
  void Claimed(size_t shard, int64_t seq);
  // What of that the shard has not been told yet: appended.
  void TakeClaimed(size_t shard, std::vector<TurnId>& turns);
  // Somebody else committed, or something else that shards wait for has changed: they look at everything.
  void LookAgain();
  // Wakes idle shards. Called after a group of the above, and when the next copy is due.
  void WakeIdle();
  // The next due time of a copy not handed out yet; kNever = none.
  int64_t NextDue() const;
  // The writer's eventfd: NextDue has changed.
  void SetTimerFd(int fd) { timer_fd_ = fd; }

  // May mails go out, and may turns begin? Moved on by the writer while the file takes what has ended.
  SendPermit& permit() { return permit_; }

 private:
  struct Lane {
    std::atomic<uint64_t> news{1};        // counts what was committed
    std::atomic<uint64_t> drained_at{0};  // all rows up to that news are handed out
    std::atomic<int64_t> next_due{0};     // of a deferred row not handed out; 0 = not looked yet

    std::mutex mutex;  // guards the rest
    int64_t last_seq = 0;
    // Deferred rows up to (last_due, last_due_seq) are handed out or done.
    int64_t last_due = std::numeric_limits<int64_t>::min();
    int64_t last_due_seq = 0;
    std::unordered_set<int64_t> leased;  // deferred rows handed out and still in the file
  };
  struct Sleeper {
    int wake_fd = -1;
    std::atomic<bool> idle{false};
    std::mutex claimed_mutex;
    std::vector<TurnId> claimed;  // guarded by claimed_mutex
  };

  bool HasNews(const Lane& lane, int64_t now_unix_ms) const;
  void JudgeRead(int code, const Database& database);

  std::array<Lane, kPriorities> lanes_;
  std::vector<Sleeper> sleepers_;
  std::atomic<bool> consuming_{false};  // sleepers_ is set
  int timer_fd_ = -1;
  SendPermit permit_;
  mutable std::mutex read_failure_mutex_;
  std::string read_failure_;                // guarded; empty = the last lease went well
  std::atomic<bool> reading_fails_{false};  // read_failure_ is not empty
};

}  // namespace postbus::sqlite
