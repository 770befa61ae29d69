#include "queue/sqlite/writer.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <time.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <numeric>
#include <utility>

#include "event/clock.h"
#include "event/due_clock.h"
#include "queue/sqlite/schema.h"
#include "queue/sqlite/status_rows.h"

namespace postbus::sqlite {
namespace {

constexpr size_t kMaxIncomingBytes = 64 << 20;    // more is refused: the disk does not keep up
constexpr size_t kMaxTransactionBytes = 8 << 20;  // of published values; keeps the latency of a transaction bounded
constexpr int kLookMs = 500;                      // how often a host looks for what no wake-up announced
constexpr int kRetryMs = 500;                     // after a failed transaction
constexpr int64_t kPermitMs = 5000;
constexpr int64_t kBusyMs = 5000;  // how long another process may hold the write lock
constexpr long kBusySleepNs = 500'000;
constexpr int64_t kPruneMs = 60'000;
constexpr int64_t kDayMs = 86'400'000;
constexpr int64_t kDeadLettersKeptMs = 30 * kDayMs;
constexpr int64_t kRequestsKeptMs = kDayMs;
constexpr int kPruneRows = 1000;  // in one transaction

constexpr const char* kInsertSql[kPriorities] = {"INSERT INTO high (seq, headers, value) VALUES (?1, ?2, ?3)",
                                                 "INSERT INTO normal (seq, headers, value) VALUES (?1, ?2, ?3)",
                                                 "INSERT INTO low (seq, headers, value) VALUES (?1, ?2, ?3)"};
constexpr const char* kDeleteSql[kPriorities] = {"DELETE FROM high WHERE seq = ?1", "DELETE FROM normal WHERE seq = ?1",
                                                 "DELETE FROM low WHERE seq = ?1"};

size_t IndexOf(Priority priority) { return static_cast<size_t>(priority); }

}  // namespace

Writer::Writer(Database database, WakePipe pipe, Dispenser* dispenser, Journal* journal, Cancellations& cancellations,
               QueueLog log)
    : database_(std::move(database)),
      pipe_(std::move(pipe)),
      wake_fd_(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)),
      dispenser_(dispenser),
      journal_(journal),
      cancellations_(cancellations),
      log_(std::move(log)) {}

Result<std::unique_ptr<Writer>> Writer::Start(Database database, WakePipe pipe, Dispenser* dispenser, Journal* journal,
                                              Cancellations& cancellations, QueueLog log) {
  std::unique_ptr<Writer> writer(
      new Writer(std::move(database), std::move(pipe), dispenser, journal, cancellations, std::move(log)));
  if (Status prepared = writer->Prepare(); !prepared.ok()) return prepared;
  writer->thread_ = std::thread([self = writer.get()] { self->Run(); });
  return writer;
}

Status Writer::Prepare() {
  sqlite3_busy_handler(database_.connection(), &Writer::OnBusy, this);
  const auto prepare = [this](Statement& statement, const char* sql) {
    statement = database_.Prepare(sql);
    return statement.prepared();
  };
  bool ok =
      prepare(begin_, "BEGIN IMMEDIATE") && prepare(commit_, "COMMIT") &&
      prepare(read_state_, "SELECT next_seq, high, normal, low, deferred FROM state") &&
      prepare(write_state_, "UPDATE state SET next_seq = ?1, high = ?2, normal = ?3, low = ?4, deferred = ?5") &&
      prepare(read_version_, "PRAGMA data_version") &&
      prepare(insert_deferred_,
              "INSERT INTO deferred (seq, priority, due, headers, value) VALUES (?1, ?2, ?3, ?4, ?5)") &&
      prepare(delete_deferred_, "DELETE FROM deferred WHERE seq = ?1") &&
      prepare(insert_dead_letter_,
              "INSERT INTO dead_letters (seq, id, at, message, headers, value) VALUES (?1, ?2, ?3, ?4, ?5, ?6)") &&
      prepare(insert_status_, "INSERT INTO status (id, at, record) VALUES (?1, ?2, ?3)") &&
      prepare(insert_status_recipient_, kInsertStatusRecipient) &&
      prepare(prune_status_recipients_, kPruneStatusRecipients) &&
      prepare(prune_status_,
              "DELETE FROM status WHERE at < ?1 AND seq IN "
              "(SELECT seq FROM status ORDER BY seq LIMIT ?2)") &&
      prepare(prune_dead_letters_,
              "DELETE FROM dead_letters WHERE at < ?1 AND seq IN "
              "(SELECT seq FROM dead_letters ORDER BY seq LIMIT ?2)") &&
      prepare(find_request_, "SELECT digest FROM requests WHERE id = ?1") &&
      prepare(insert_claim_, "INSERT OR IGNORE INTO claims (seq) VALUES (?1)") &&
      prepare(delete_claim_, "DELETE FROM claims WHERE seq = ?1") &&
      prepare(find_claim_, "SELECT 1 FROM claims WHERE seq = ?1") &&
      prepare(insert_request_, "INSERT INTO requests (id, at, digest) VALUES (?1, ?2, ?3)") &&
      prepare(prune_requests_,
              "DELETE FROM requests WHERE at < ?1 AND seq IN "
              "(SELECT seq FROM requests ORDER BY seq LIMIT ?2)");
  for (size_t i = 0; i < kPriorities; ++i) {
    ok = ok && prepare(insert_[i], kInsertSql[i]) && prepare(delete_[i], kDeleteSql[i]);
  }
  FileState state;
  if (!ok || !ReadState(state)) return database_.Failure();
  ShowState(state);
  if (Status prepared = cancellation_table_.Prepare(database_); !prepared.ok()) return prepared;
  if (dispenser_ != nullptr) {
    dispenser_->SetTimerFd(wake_fd_.get());
    if (Status taken = TakeCancellations(); !taken.ok()) return taken;
    dispenser_->permit().Extend(BootTimeMs() + kPermitMs);
  }
  return {};
}

Writer::~Writer() {
  Stop(BootTimeMs());
  if (thread_.joinable()) thread_.join();
}

Status Writer::Publish(NewRows rows) {
  bool wake = false;
  {
    const std::lock_guard lock(mutex_);
    if (stopping_) return Status::Unavailable("the queue is being closed: repeat with the same id");
    if (incoming_bytes_ >= kMaxIncomingBytes) {
      return Status::Unavailable("queue full: " + std::to_string(incoming_rows_.size()) +
                                 " requests wait for the disk; repeat later with the same id");
    }
    incoming_bytes_ += rows.bytes();
    incoming_rows_.push_back(std::move(rows));
    wake = std::exchange(waiting_, false);
  }
  if (wake) eventfd_write(wake_fd_.get(), 1);
  return {};
}

Status Writer::Cancel(CancelRequest request) {
  bool wake = false;
  {
    const std::lock_guard lock(mutex_);
    if (stopping_) return Status::Unavailable("the queue is being closed: repeat the cancellation");
    incoming_cancels_.push_back(std::move(request));
    wake = std::exchange(waiting_, false);
  }
  if (wake) eventfd_write(wake_fd_.get(), 1);
  return {};
}

void Writer::Settle(HostWork work) {
  bool wake = false;
  {
    const std::lock_guard lock(mutex_);
    incoming_work_.Append(std::move(work));
    wake = std::exchange(waiting_, false);
  }
  if (wake) eventfd_write(wake_fd_.get(), 1);
}

bool Writer::Stop(int64_t deadline_boot_ms) {
  std::unique_lock lock(mutex_);
  if (!thread_.joinable()) return true;
  stopping_ = true;
  eventfd_write(wake_fd_.get(), 1);
  const auto left = std::chrono::milliseconds(std::max<int64_t>(0, deadline_boot_ms - BootTimeMs()));
  if (!finished_changed_.wait_for(lock, left, [this] { return finished_; })) {
    abandon_.store(true);
    eventfd_write(wake_fd_.get(), 1);
  }
  return all_written_;
}

Status Writer::Health() const {
  const std::lock_guard lock(mutex_);
  return failure_.empty() ? Status() : Status::Unavailable(failure_);
}

QueueStats Writer::Stats() const {
  QueueStats stats;
  stats.published = published_.load();
  stats.publish_failures = publish_failures_.load();
  stats.completed = completed_.load();
  stats.deferred = deferred_.load();
  stats.dead_lettered = dead_lettered_.load();
  stats.cancelled = cancelled_.load();
  stats.commits = commits_.load();
  stats.commit_failures = commit_failures_.load();
  stats.waiting = events_in_file_.load();
  stats.delayed = deferred_in_file_.load();
  return stats;
}

void Writer::Run() {
  while (true) {
    std::vector<NewRows> published = TakeIncoming();
    Commit(published);
    CommitCancels();
    if (dispenser_ != nullptr) TendHost();
    {
      const std::lock_guard lock(mutex_);
      const bool idle = incoming_rows_.empty() && incoming_work_.empty() && incoming_cancels_.empty();
      if (abandon_.load() || (stopping_ && idle && unsettled_.empty())) break;
    }
    Wait();
  }
  std::vector<NewRows> refused;
  std::vector<CancelRequest> refused_cancels;
  {
    const std::lock_guard lock(mutex_);
    refused = std::exchange(incoming_rows_, {});
    refused_cancels.swap(incoming_cancels_);
    all_written_ = refused.empty() && refused_cancels.empty() && incoming_work_.empty() && unsettled_.empty();
  }
  Answer(refused, Status::Unavailable("the queue was closed before the disk took the event: repeat with the same id"));
  for (const CancelRequest& request : refused_cancels) {
    request.done(Status::Unavailable("the queue was closed before the disk took the cancellation: repeat it"));
  }
  cancellation_table_.Close();
  // Statements first: a connection with live statements stays open.
  for (Statement* statement : {&begin_,
                               &commit_,
                               &read_state_,
                               &write_state_,
                               &read_version_,
                               &insert_deferred_,
                               &delete_deferred_,
                               &insert_dead_letter_,
                               &insert_status_,
                               &prune_status_,
                               &prune_dead_letters_,
                               &find_request_,
                               &insert_request_,
                               &prune_requests_,
                               &insert_status_recipient_,
                               &insert_claim_,
                               &delete_claim_,
                               &find_claim_,
                               &prune_status_recipients_,
                               &insert_[0],
                               &insert_[1],
                               &insert_[2],
                               &delete_[0],
                               &delete_[1],
                               &delete_[2]}) {
    *statement = Statement();
  }
  database_ = Database();
  const std::lock_guard lock(mutex_);
  finished_ = true;
  finished_changed_.notify_all();
}

std::vector<NewRows> Writer::TakeIncoming() {
  std::vector<NewRows> published;
  const std::lock_guard lock(mutex_);
  unsettled_.Append(std::exchange(incoming_work_, {}));
  if (incoming_bytes_ <= kMaxTransactionBytes) {
    incoming_bytes_ = 0;
    published.swap(incoming_rows_);
    return published;
  }
  size_t bytes = 0;
  auto end = incoming_rows_.begin();
  while (end != incoming_rows_.end() && bytes < kMaxTransactionBytes) bytes += (end++)->bytes();
  published.assign(std::make_move_iterator(incoming_rows_.begin()), std::make_move_iterator(end));
  incoming_rows_.erase(incoming_rows_.begin(), end);
  incoming_bytes_ -= bytes;
  return published;
}

void Writer::Commit(std::vector<NewRows>& published) {
  const bool retry = retry_at_boot_ms_ != 0 && BootTimeMs() >= retry_at_boot_ms_;
  const bool settle = !unsettled_.empty() && (retry || retry_at_boot_ms_ == 0);
  // `retry` alone writes `state`: does the file take anything again?
  if (published.empty() && !settle && !retry) return;

  static const HostWork kNone;
  Status status = Transact(published, settle ? unsettled_ : kNone);
  const size_t size = published.size();
  Answer(published, status);
  // New events must not keep ended turns from the disk: alone they may fit.
  if (!status.ok() && settle && size > 0) status = Transact({}, unsettled_);
  if (status.ok() && settle) unsettled_ = {};
  SetHealth(status);
  if (status.ok() && unsettled_.empty()) {
    retry_at_boot_ms_ = 0;
  } else if (retry || retry_at_boot_ms_ == 0) {
    retry_at_boot_ms_ = BootTimeMs() + kRetryMs;
  }
}

// Behind the turns that have ended: what was sent is known to be.
void Writer::CommitCancels() {
  std::vector<CancelRequest> requests;
  {
    const std::lock_guard lock(mutex_);
    requests.swap(incoming_cancels_);
  }
  if (requests.empty()) return;
  std::vector<Status> verdicts;
  Status failure;
  if (!begin_.Run()) failure = database_.Failure();
  for (const CancelRequest& request : requests) {
    if (!failure.ok()) break;
    verdicts.push_back(cancellation_table_.Add(request.id));
    const Status& verdict = verdicts.back();
    if (!verdict.ok() && verdict.kind() == ErrorKind::kUnavailable) {
      failure = Status::Unavailable(std::string(verdict.message()));
    }
  }
  if (failure.ok() && !commit_.Run()) failure = CommitFailure();
  database_.Rollback();
  if (!failure.ok()) commit_failures_.fetch_add(1);
  if (failure.ok() && dispenser_ == nullptr) pipe_.Notify();
  if (failure.ok() && dispenser_ != nullptr) {
    if (!TakeCancellations().ok()) look_for_cancellations_ = true;
    std::vector<NewRows> none;
    Commit(none);  // so that who is answered sees what has ended by it
  }
  for (size_t i = 0; i < requests.size(); ++i) requests[i].done(failure.ok() ? verdicts[i] : failure);
}

// What was cancelled, here or by another process, is known to the shards from now on. What waits in the file and is
// with none of them ends.
Status Writer::TakeCancellations() {
  std::vector<Settlement> waiting;
  if (Status read = cancellation_table_.ReadNew(cancellations_, waiting); !read.ok()) return read;
  if (waiting.empty()) return {};
  const std::vector<int64_t> left = journal_->Left();  // a killed host had these, and some may have been sent
  for (Settlement& settlement : waiting) {
    const RowRef& row = settlement.row;
    if (std::find(left.begin(), left.end(), row.seq) != left.end() || IsClaimed(row.seq)) continue;
    if (dispenser_->Withhold(row.priority, row.seq)) unsettled_.settlements.push_back(std::move(settlement));
  }
  return {};
}

Status Writer::Transact(const std::vector<NewRows>& published, const HostWork& work) {
  FileState state;
  const bool written = Write(published, work, state);
  if (written && commit_.Run()) {
    commits_.fetch_add(1);
    ShowState(state);
    Announce(published, work);
    return {};
  }
  Status failure = written ? CommitFailure() : database_.Failure();
  database_.Rollback();
  commit_failures_.fetch_add(1);
  return failure;
}

// A COMMIT whose fdatasync failed may be found intact after a crash. With no space left its last page cannot.
Status Writer::CommitFailure() const {
  Status failure = database_.Failure();
  if (database_.ErrorCode() == SQLITE_FULL) return failure;
  return Status::Uncertain(std::string(failure.message()));
}

bool Writer::Write(const std::vector<NewRows>& published, const HostWork& work, FileState& state) {
  if (!begin_.Run() || !ReadState(state)) return false;
  fates_.assign(published.size(), Fate::kWritten);
  for (size_t i = 0; i < published.size(); ++i) {
    if (!published[i].request_id.empty() && !Remember(published[i], fates_[i])) return false;
    if (fates_[i] == Fate::kWritten && !WriteRows(published[i], state)) return false;
  }
  for (const ClaimChange& claim : work.claims) {
    if (!WriteClaim(claim)) return false;
  }
  for (const Settlement& settlement : work.settlements) {
    if (!WriteSettlement(settlement, state)) return false;
  }
  write_state_.Bind(1, state.next_seq);
  for (int i = 0; i < kPriorities; ++i) write_state_.Bind(i + 2, state.events[static_cast<size_t>(i)]);
  write_state_.Bind(5, state.deferred);
  return write_state_.Run();
}

bool Writer::WriteRows(const NewRows& rows, FileState& state) {
  for (const NewRow& row : rows.rows) {
    Statement& insert = insert_[IndexOf(row.priority)];
    insert.Bind(1, state.next_seq++);
    insert.BindText(2, row.headers);
    insert.BindBlob(3, row.value);
    if (!insert.Run() || !WriteStatus(row.queued)) return false;
    ++state.events[IndexOf(row.priority)];
  }
  return true;
}

// Whoever finds a request's id in the file has its events in the file, too: both are of one transaction.
bool Writer::Remember(const NewRows& rows, Fate& fate) {
  find_request_.BindText(1, rows.request_id);
  const int found = find_request_.Step();
  if (found == SQLITE_ROW) fate = find_request_.Bytes(0) == rows.digest ? Fate::kKnown : Fate::kConflict;
  find_request_.Reset();
  if (found != SQLITE_DONE) return found == SQLITE_ROW;
  insert_request_.BindText(1, rows.request_id);
  insert_request_.Bind(2, UnixTimeMs());
  insert_request_.BindBlob(3, rows.digest);
  return insert_request_.Run();
}

bool Writer::WriteStatus(const StatusRow& status) {
  insert_status_.BindText(1, status.id);
  insert_status_.Bind(2, status.at_unix_ms);
  insert_status_.BindText(3, status.record);
  return insert_status_.Run() && InsertStatusRecipients(insert_status_recipient_, status.recipient_hashes);
}

bool Writer::WriteClaim(const ClaimChange& claim) {
  Statement& write = claim.claimed ? insert_claim_ : delete_claim_;
  write.Bind(1, claim.seq);
  return write.Run();
}

// At most once: some host may be sending it, or may have.
bool Writer::IsClaimed(int64_t seq) {
  find_claim_.Bind(1, seq);
  const bool claimed = find_claim_.Step() == SQLITE_ROW;
  find_claim_.Reset();
  return claimed;
}

bool Writer::WriteSettlement(const Settlement& settlement, FileState& state) {
  const RowRef& row = settlement.row;
  Statement& remove = row.deferred ? delete_deferred_ : delete_[IndexOf(row.priority)];
  remove.Bind(1, row.seq);
  if (!remove.Run()) return false;
  (row.deferred ? state.deferred : state.events[IndexOf(row.priority)]) -= database_.ChangedRows();
  if (settlement.claimed && !WriteClaim({row.seq, false})) return false;

  for (const DeferredRow& copy : settlement.deferred) {
    insert_deferred_.Bind(1, state.next_seq++);
    insert_deferred_.Bind(2, static_cast<int64_t>(row.priority));
    insert_deferred_.Bind(3, copy.due_unix_ms);
    insert_deferred_.BindText(4, copy.headers);
    insert_deferred_.BindBlob(5, copy.value);
    if (!insert_deferred_.Run()) return false;
    ++state.deferred;
  }
  for (const DeadLetterRow& letter : settlement.dead_letters) {
    insert_dead_letter_.Bind(1, state.next_seq++);
    insert_dead_letter_.BindText(2, letter.id);
    insert_dead_letter_.Bind(3, UnixTimeMs());
    insert_dead_letter_.BindText(4, letter.message);
    insert_dead_letter_.BindText(5, letter.headers);
    insert_dead_letter_.BindBlob(6, letter.value);
    if (!insert_dead_letter_.Run()) return false;
  }
  for (const StatusRow& status : settlement.statuses) {
    if (!WriteStatus(status)) return false;
  }
  return true;
}

bool Writer::ReadState(FileState& state) {
  const bool found = read_state_.Step() == SQLITE_ROW;
  if (found) {
    state.next_seq = read_state_.Int(0);
    for (int i = 0; i < kPriorities; ++i) state.events[static_cast<size_t>(i)] = read_state_.Int(i + 1);
    state.deferred = read_state_.Int(4);
  }
  read_state_.Reset();
  return found;
}

void Writer::ShowState(const FileState& state) {
  events_in_file_.store(state.events[0] + state.events[1] + state.events[2]);
  deferred_in_file_.store(state.deferred);
}

void Writer::Announce(const std::vector<NewRows>& published, const HostWork& work) {
  for (const ClaimChange& claim : work.claims) {
    if (claim.claimed) dispenser_->Claimed(claim.shard, claim.seq);
  }
  for (const Settlement& settlement : work.settlements) {
    deferred_.fetch_add(settlement.deferred.size());
    dead_lettered_.fetch_add(settlement.dead_letters.size());
    const Priority priority = settlement.row.priority;
    for (const DeferredRow& copy : settlement.deferred) dispenser_->Deferred(priority, copy.due_unix_ms);
    if (settlement.row.deferred) dispenser_->Settled(priority, settlement.row.seq);
    if (settlement.marks.slot() != nullptr) journal_->Release(settlement.marks);
  }
  const auto cancelled = static_cast<size_t>(std::count_if(work.settlements.begin(), work.settlements.end(),
                                                           [](const Settlement& each) { return each.without_turn; }));
  cancelled_.fetch_add(cancelled);
  completed_.fetch_add(work.settlements.size() - cancelled);
  std::array<size_t, kPriorities> written{};
  for (size_t i = 0; i < published.size(); ++i) {
    if (fates_[i] != Fate::kWritten) continue;
    for (const NewRow& row : published[i].rows) ++written[IndexOf(row.priority)];
  }
  const size_t sum = std::accumulate(written.begin(), written.end(), size_t{0});
  if (sum == 0) return;
  published_.fetch_add(sum);
  if (dispenser_ == nullptr) return pipe_.Notify();
  for (size_t i = 0; i < written.size(); ++i) {
    if (written[i] > 0) dispenser_->Published(static_cast<Priority>(i));
  }
  dispenser_->WakeIdle();
}

void Writer::Answer(std::vector<NewRows>& published, const Status& status) {
  for (size_t i = 0; i < published.size(); ++i) {
    if (!status.ok()) publish_failures_.fetch_add(published[i].rows.size());
    if (status.ok() && fates_[i] == Fate::kConflict) {
      published[i].done(Status::Conflict("the request's key was used before, with another body"));
    } else {
      published[i].done(status);
    }
  }
  published.clear();
}

void Writer::SetHealth(const Status& status) {
  bool changed = false;
  {
    const std::lock_guard lock(mutex_);
    if (!status.ok() || unsettled_.empty()) {
      changed = failure_.empty() != status.ok();
      failure_ = status.message();
    }
  }
  if (!changed) return;
  if (status.ok()) {
    log_(LogLevel::kInfo, "the queue file takes writes again");
  } else {
    log_(LogLevel::kError, status.message());
  }
}

void Writer::TendHost() {
  bool look_again = std::exchange(notified_, false) || !dispenser_->ReadHealth().ok();
  if (read_version_.Step() == SQLITE_ROW) {
    const int64_t version = read_version_.Int(0);
    read_version_.Reset();
    if (version != std::exchange(seen_version_, version)) {
      look_again = true;
      look_for_cancellations_ = true;
      FileState state;
      if (ReadState(state)) ShowState(state);
    }
  } else {
    read_version_.Reset();
  }
  if (look_for_cancellations_) {
    look_for_cancellations_ = !TakeCancellations().ok();
    std::vector<NewRows> none;
    Commit(none);
  }
  const int64_t now = BootTimeMs();
  if (retry_at_boot_ms_ == 0) {
    if (!dispenser_->permit().Valid(now)) look_again = true;
    dispenser_->permit().Extend(now + kPermitMs);
  }
  if (look_again) dispenser_->LookAgain();
  if (look_again || dispenser_->NextDue() <= DueTimeMs()) dispenser_->WakeIdle();
  if (retry_at_boot_ms_ == 0 && now >= prune_at_boot_ms_) Prune();
}

void Writer::Prune() {
  bool more = false;
  const auto prune = [&](Statement& statement, int64_t kept_ms) {
    statement.Bind(1, UnixTimeMs() - kept_ms);
    statement.Bind(2, kPruneRows);
    if (statement.Run()) more = more || database_.ChangedRows() == kPruneRows;
  };
  if (begin_.Run()) {
    prune(prune_status_, kStatusKeptMs);
    prune(prune_dead_letters_, kDeadLettersKeptMs);
    prune(prune_requests_, kRequestsKeptMs);
    if (!cancellation_table_.Prune(UnixTimeMs() - Cancellations::kKeptMs, kPruneRows) ||
        !prune_status_recipients_.Run() || !commit_.Run())
      database_.Rollback();
  }
  prune_at_boot_ms_ = more ? 0 : BootTimeMs() + kPruneMs;
}

void Writer::Wait() {
  int64_t timeout = dispenser_ != nullptr ? kLookMs : -1;
  if (retry_at_boot_ms_ != 0) timeout = std::clamp<int64_t>(retry_at_boot_ms_ - BootTimeMs(), 0, kRetryMs);
  if (dispenser_ != nullptr) {
    const int64_t due_in = dispenser_->NextDue() - DueTimeMs();
    if (due_in > 0) timeout = std::min(timeout, due_in);
    if (prune_at_boot_ms_ == 0) timeout = 0;
  }
  {
    const std::lock_guard lock(mutex_);
    if (!incoming_rows_.empty() || !incoming_work_.empty() || !incoming_cancels_.empty()) return;
    waiting_ = true;
  }
  std::array<pollfd, 2> fds{{{wake_fd_.get(), POLLIN, 0}, {dispenser_ != nullptr ? pipe_.fd() : -1, POLLIN, 0}}};
  poll(fds.data(), fds.size(), static_cast<int>(timeout));
  eventfd_t ignored = 0;
  if ((fds[0].revents & POLLIN) != 0) eventfd_read(wake_fd_.get(), &ignored);
  if ((fds[1].revents & POLLIN) != 0) {
    pipe_.Drain();
    notified_ = true;
  }
  const std::lock_guard lock(mutex_);
  waiting_ = false;
}

int Writer::OnBusy(void* self, int count) {
  Writer& writer = *static_cast<Writer*>(self);
  const int64_t now = BootTimeMs();
  if (count == 0) writer.busy_since_boot_ms_ = now;
  if (writer.abandon_.load() || now - writer.busy_since_boot_ms_ >= kBusyMs) return 0;
  const timespec pause{0, kBusySleepNs};
  nanosleep(&pause, nullptr);
  return 1;
}

}  // namespace postbus::sqlite
