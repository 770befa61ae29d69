#include "queue/sqlite/dispenser.h"

#include <sys/eventfd.h>

#include <algorithm>

#include "event/clock.h"
#include "event/due_clock.h"

namespace postbus::sqlite {
namespace {

size_t IndexOf(Priority priority) { return static_cast<size_t>(priority); }

}  // namespace

void Dispenser::SetShards(const std::vector<int>& wake_fds) {
  sleepers_ = std::vector<Sleeper>(wake_fds.size());
  for (size_t i = 0; i < wake_fds.size(); ++i) sleepers_[i].wake_fd = wake_fds[i];
  consuming_.store(true, std::memory_order_release);
}

void Dispenser::LeaseFresh(Priority priority, const Database& database, Statement& statement,
                           std::deque<EventRow>& rows) {
  Lane& lane = lanes_[IndexOf(priority)];
  if (lane.drained_at.load() == lane.news.load()) return;
  const std::lock_guard lock(lane.mutex);
  const uint64_t news = lane.news.load();  // before reading: later commits count as news again
  statement.Bind(1, lane.last_seq);
  size_t bytes = 0;
  size_t count = 0;
  int code = SQLITE_ROW;
  while (count < kLeaseRows && bytes < kLeaseBytes && (code = statement.Step()) == SQLITE_ROW) {
    EventRow& row = rows.emplace_back();
    row.ref = {priority, false, statement.Int(0)};
    row.headers = statement.Bytes(1);
    row.value = statement.Bytes(2);
    bytes += row.value.size();
    ++count;
    lane.last_seq = row.ref.seq;
  }
  JudgeRead(code, database);
  statement.Reset();
  if (code != SQLITE_ROW) lane.drained_at.store(news);  // after an error, too: LookAgain is news
}

void Dispenser::LeaseDue(Priority priority, const Database& database, Statement& statement,
                         std::deque<EventRow>& rows) {
  Lane& lane = lanes_[IndexOf(priority)];
  if (lane.next_due.load() == kNever) return;
  const int64_t now = DueTimeMs();
  if (lane.next_due.load() > now) return;
  const std::lock_guard lock(lane.mutex);
  statement.Bind(1, static_cast<int64_t>(priority));
  statement.Bind(2, lane.last_due);
  statement.Bind(3, lane.last_due_seq);
  size_t bytes = 0;
  size_t count = 0;
  int64_t next_due = kNever;
  int code = SQLITE_DONE;
  while ((code = statement.Step()) == SQLITE_ROW) {
    const int64_t seq = statement.Int(0);
    const int64_t due = statement.Int(1);
    if (due > now || count == kLeaseRows || bytes >= kLeaseBytes) {
      next_due = due;
      break;
    }
    lane.last_due = due;
    lane.last_due_seq = seq;
    if (!lane.leased.insert(seq).second) continue;
    EventRow& row = rows.emplace_back();
    row.ref = {priority, true, seq};
    row.headers = statement.Bytes(2);
    row.value = statement.Bytes(3);
    bytes += row.value.size();
    ++count;
  }
  JudgeRead(code, database);
  statement.Reset();
  lane.next_due.store(next_due);
  if (next_due != kNever) eventfd_write(timer_fd_, 1);
}

void Dispenser::JudgeRead(int code, const Database& database) {
  const bool failed = code != SQLITE_ROW && code != SQLITE_DONE;
  if (!failed && !reading_fails_.load()) return;
  const std::lock_guard lock(read_failure_mutex_);
  read_failure_ = failed ? database.Failure().message() : std::string_view();
  reading_fails_.store(failed);
}

Status Dispenser::ReadHealth() const {
  if (!reading_fails_.load()) return {};
  const std::lock_guard lock(read_failure_mutex_);
  return read_failure_.empty() ? Status() : Status::Unavailable(read_failure_);
}

bool Dispenser::HasNews(const Lane& lane, int64_t now_unix_ms) const {
  return lane.drained_at.load() != lane.news.load() || lane.next_due.load() <= now_unix_ms;
}

bool Dispenser::MayIdle(size_t shard) {
  // First idle, then look: whoever commits does it in the other order, so one of both sees the other.
  sleepers_[shard].idle.store(true);
  if (!permit_.Valid(BootTimeMs())) return true;
  const int64_t now = DueTimeMs();
  const bool news = std::any_of(lanes_.begin(), lanes_.end(), [&](const Lane& lane) { return HasNews(lane, now); });
  if (!news) return true;
  sleepers_[shard].idle.store(false);
  return false;
}

bool Dispenser::Withhold(Priority priority, int64_t seq) {
  Lane& lane = lanes_[IndexOf(priority)];
  const std::lock_guard lock(lane.mutex);
  return lane.leased.insert(seq).second;
}

void Dispenser::Published(Priority priority) { lanes_[IndexOf(priority)].news.fetch_add(1); }

void Dispenser::Deferred(Priority priority, int64_t due_unix_ms) {
  Lane& lane = lanes_[IndexOf(priority)];
  const std::lock_guard lock(lane.mutex);
  if (due_unix_ms <= lane.last_due) {  // behind the reader: it goes back, past rows it will find leased
    lane.last_due = due_unix_ms;
    lane.last_due_seq = 0;
  }
  lane.next_due.store(std::min(lane.next_due.load(), due_unix_ms));
}

void Dispenser::Settled(Priority priority, int64_t seq) {
  Lane& lane = lanes_[IndexOf(priority)];
  const std::lock_guard lock(lane.mutex);
  lane.leased.erase(seq);
}

void Dispenser::Claimed(size_t shard, int64_t seq) {
  Sleeper& sleeper = sleepers_[shard];
  bool first = false;
  {
    const std::lock_guard lock(sleeper.claimed_mutex);
    first = sleeper.claimed.empty();
    sleeper.claimed.push_back(static_cast<TurnId>(seq));
  }
  if (first) eventfd_write(sleeper.wake_fd, 1);
}

void Dispenser::TakeClaimed(size_t shard, std::vector<TurnId>& turns) {
  Sleeper& sleeper = sleepers_[shard];
  const std::lock_guard lock(sleeper.claimed_mutex);
  turns.insert(turns.end(), sleeper.claimed.begin(), sleeper.claimed.end());
  sleeper.claimed.clear();
}

void Dispenser::LookAgain() {
  for (Lane& lane : lanes_) {
    lane.news.fetch_add(1);
    const std::lock_guard lock(lane.mutex);
    lane.next_due.store(0);
  }
}

void Dispenser::WakeIdle() {
  if (!consuming_.load(std::memory_order_acquire)) return;
  for (Sleeper& sleeper : sleepers_) {
    if (sleeper.idle.exchange(false)) eventfd_write(sleeper.wake_fd, 1);
  }
}

int64_t Dispenser::NextDue() const {
  int64_t next = kNever;
  for (const Lane& lane : lanes_) next = std::min(next, lane.next_due.load());
  return next;
}

}  // namespace postbus::sqlite
