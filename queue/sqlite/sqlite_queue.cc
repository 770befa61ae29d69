#include "queue/sqlite/sqlite_queue.h"

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <optional>
#include <system_error>
#include <unordered_set>

#include "event/clock.h"
#include "queue/sqlite/dispenser.h"
#include "queue/sqlite/host_lock.h"
#include "queue/sqlite/schema.h"
#include "queue/sqlite/shard.h"
#include "queue/sqlite/wake_pipe.h"
#include "queue/sqlite/writer.h"

namespace postbus::sqlite {
namespace {

// More than hosts have in flight, and some that wait for a transaction; touched are as many as were in use at once.
constexpr uint32_t kJournalSlots = 65'536;

NewRow RowOf(const NewEvent& event) {
  EventHeaders headers;
  headers.id = event.id;
  headers.accepted_at_unix_ms = event.accepted_at_unix_ms != 0 ? event.accepted_at_unix_ms : UnixTimeMs();
  headers.traceparent = event.traceparent;
  StatusRecord queued;
  queued.id = event.id;
  queued.recipients = event.recipients;
  queued.at_unix_ms = headers.accepted_at_unix_ms;
  queued.recipient_hashes.assign(event.recipient_hashes.begin(), event.recipient_hashes.end());
  NewRow row{event.priority,
             HeadersToText(headers),
             std::string(event.value),
             {queued.id, queued.at_unix_ms, {}, queued.recipient_hashes}};
  EncodeStatus(queued, row.queued.record);
  return row;
}

class SqliteQueue : public Queue {
 public:
  SqliteQueue(std::string path, size_t max_event_bytes, QueueLog log)
      : path_(std::move(path)), max_event_bytes_(max_event_bytes), log_(std::move(log)) {}

  Status Open(Role role) {
    if (role == Role::kHost) {
      Result<HostLock> lock = HostLock::Take(path_);
      if (!lock.ok()) return lock.TakeStatus();
      lock_.emplace(std::move(*lock));
      dispenser_.emplace();
    }
    Result<Database> database = OpenQueueFile(path_);
    if (!database.ok()) return database.TakeStatus();
    Result<WakePipe> pipe = WakePipe::Open(path_);
    if (!pipe.ok()) return pipe.TakeStatus();
    if (role == Role::kHost) {
      if (Status opened = OpenJournal(*database); !opened.ok()) return opened;
      if (Status read = ReadOldClaims(*database); !read.ok()) return read;
    }
    Result<std::unique_ptr<Writer>> writer =
        Writer::Start(std::move(*database), std::move(*pipe), dispenser_ ? &*dispenser_ : nullptr, journal_.get(),
                      cancellations_, log_);
    if (!writer.ok()) return writer.TakeStatus();
    writer_ = std::move(*writer);
    return {};
  }

  Status Publish(const Publication& publication, std::function<void(const Status&)> done) override {
    NewRows rows;
    rows.rows.reserve(publication.events.size());
    for (const NewEvent& event : publication.events) {
      if (event.value.size() > max_event_bytes_) {
        return Status::Invalid("the event has " + std::to_string(event.value.size()) + " bytes, more than " +
                               std::to_string(max_event_bytes_) + " (limits.max_event)");
      }
      if (!IsValidId(event.id)) return Status::Invalid("the event's id is not 1-128 characters of A-Z a-z 0-9 . _ : -");
      rows.rows.push_back(RowOf(event));
    }
    rows.request_id = publication.request_id;
    rows.digest = publication.digest;
    rows.done = std::move(done);
    return writer_->Publish(std::move(rows));
  }

  Status Cancel(std::string_view id, std::function<void(const Status&)> done) override {
    return writer_->Cancel({std::string(id), std::move(done)});
  }
  const Cancellations& cancellations() const override { return cancellations_; }

  Status StartConsuming(const std::vector<int>& wake_fds) override {
    for (size_t i = 0; i < wake_fds.size(); ++i) {
      Result<std::unique_ptr<Shard>> shard = Shard::Open(path_, i, *dispenser_, *writer_, *journal_, old_claims_, log_);
      if (!shard.ok()) return shard.TakeStatus();
      shards_.push_back(std::move(*shard));
    }
    dispenser_->SetShards(wake_fds);
    consuming_.store(true);
    return {};
  }

  ShardQueue& shard(size_t index) override { return *shards_[index]; }

  void StopConsuming() override {
    for (const std::unique_ptr<Shard>& shard : shards_) shard->StopConsuming();
  }

  bool Stop(int64_t deadline_boot_ms) override {
    StopConsuming();
    for (const std::unique_ptr<Shard>& shard : shards_) {
      shard->Flush();
      shard->Close();
    }
    const bool written = writer_->Stop(deadline_boot_ms);
    if (journal_ != nullptr) journal_->Detach();
    if (written) lock_.reset();  // else the writer may still be at it
    return written;
  }

  Status Health() const override {
    if (Status writing = writer_->Health(); !writing.ok()) return writing;
    return dispenser_ ? dispenser_->ReadHealth() : Status();
  }

  QueueStats Stats() const override {
    QueueStats stats = writer_->Stats();
    if (!consuming_.load()) {
      stats.waiting = stats.delayed = -1;  // a producer does not follow what others add and take
      return stats;
    }
    for (const std::unique_ptr<Shard>& shard : shards_) {
      stats.consumed += shard->consumed();
      stats.waiting -= shard->fresh_turns();
      stats.delayed -= shard->deferred_turns();
    }
    stats.waiting = std::max<int64_t>(0, stats.waiting);
    stats.delayed = std::max<int64_t>(0, stats.delayed);
    return stats;
  }

  std::string Description() const override { return "sqlite " + path_; }

 private:
  Status OpenJournal(Database& database) {
    std::string discarded;
    Result<std::unique_ptr<Journal>> journal = Journal::Open(path_ + ".host-journal", kJournalSlots, &discarded);
    if (!journal.ok()) return journal.TakeStatus();
    journal_ = std::move(*journal);
    if (!discarded.empty()) log_(LogLevel::kInfo, "journal " + path_ + ".host-journal is begun anew: " + discarded);
    // Killed between a commit and its release: those rows never come again.
    Statement find = database.Prepare(
        "SELECT 1 FROM high WHERE seq = ?1 UNION ALL SELECT 1 FROM normal WHERE seq = ?1 "
        "UNION ALL SELECT 1 FROM low WHERE seq = ?1 UNION ALL SELECT 1 FROM deferred WHERE seq = ?1");
    if (!find.prepared()) return database.Failure();
    for (const int64_t seq : journal_->Left()) {
      find.Bind(1, seq);
      if (find.Step() == SQLITE_DONE) journal_->Forget(seq);
      find.Reset();
    }
    return {};
  }

  Status ReadOldClaims(Database& database) {
    Statement read = database.Prepare("SELECT seq FROM claims");
    if (!read.prepared()) return database.Failure();
    int code = SQLITE_DONE;
    while ((code = read.Step()) == SQLITE_ROW) old_claims_.insert(read.Int(0));
    return code == SQLITE_DONE ? Status() : database.Failure();
  }

  const std::string path_;
  const size_t max_event_bytes_;
  const QueueLog log_;
  std::optional<HostLock> lock_;            // a host's; held until the file is closed
  std::optional<Dispenser> dispenser_;      // a host's
  std::unique_ptr<Journal> journal_;        // a host's
  std::unordered_set<int64_t> old_claims_;  // of rows that a dead process may have sent
  Cancellations cancellations_;             // a host's
  std::unique_ptr<Writer> writer_;
  std::vector<std::unique_ptr<Shard>> shards_;
  std::atomic<bool> consuming_{false};  // shards_ is complete
};

}  // namespace

Result<std::unique_ptr<Queue>> OpenSqliteQueue(const QueueConfig& config, Role role, QueueLog log) {
  std::error_code error;
  const std::string path = std::filesystem::absolute(config.sqlite.path, error).string();
  if (error) return Status::Invalid("queue path \"" + config.sqlite.path + "\": " + error.message());
  std::filesystem::create_directories(std::filesystem::path(path).parent_path(), error);  // shows when it is opened
  auto queue = std::make_unique<SqliteQueue>(path, config.max_event_bytes, std::move(log));
  if (Status opened = queue->Open(role); !opened.ok()) return opened;
  return std::unique_ptr<Queue>(std::move(queue));
}

}  // namespace postbus::sqlite
