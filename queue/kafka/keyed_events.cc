#include "queue/kafka/keyed_events.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <set>

#include "event/clock.h"
#include "queue/sqlite/file_format.h"

namespace postbus::kafka {
namespace {

constexpr int kAskMs = 3000;
constexpr int kPollMs = 100;
constexpr LogReader::Settings kReading = {.queue_kib = 4096, .fetch_wait_ms = 20};  // keyed mails wait for it
constexpr int64_t kAgainAfterMs = 1000;
// A host may be this late with a partition and still know what was accepted 24 h before.
constexpr int64_t kKeptMs = 3 * KeyedEvents::kWindowMs;
// The clocks of an API and of a broker may differ so much.
constexpr int64_t kClocksMs = 600'000;
constexpr int kPruneEvery = 1000;
constexpr int kPruneRows = 4000;

constexpr const char* kCreate = R"sql(
CREATE TABLE keyed (
  seq INTEGER PRIMARY KEY, id TEXT NOT NULL, priority INTEGER NOT NULL, partition INTEGER NOT NULL, place INTEGER NOT NULL,
  at INTEGER NOT NULL, UNIQUE (id, priority, partition, place)
);
-- All keyed records below `next` are known.
CREATE TABLE known (
  priority INTEGER NOT NULL, partition INTEGER NOT NULL, next INTEGER NOT NULL, PRIMARY KEY (priority, partition)
) WITHOUT ROWID;
)sql";
constexpr std::array kSteps = {sqlite::FormatStep{1, kCreate}};
constexpr sqlite::FileFormat kKeyFile = {"key file", /*application_id=*/0, kSteps, /*keep_backup=*/false};

bool IsUuidOfName(std::string_view id) {
  constexpr size_t kVersionAt = 14;
  if (id.size() != 36 || id[kVersionAt] != '5') return false;
  for (size_t i = 0; i < id.size(); ++i) {
    const char c = id[i];
    const bool hex = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
    if (i == 8 || i == 13 || i == 18 || i == 23 ? c != '-' : !hex) return false;
  }
  return true;
}

}  // namespace

bool IsKeyed(const Source& source) {
  const EventHeaders& headers = source.headers;
  return headers.attempt == 0 && headers.replay == 0 && headers.origin.offset == source.offset &&
         headers.origin.partition == source.partition && headers.origin.topic == source.topic &&
         IsUuidOfName(headers.id);
}

KeyedEvents::KeyedEvents(const KafkaConfig& config, QueueLog log, std::function<void(int32_t)> on_news)
    : config_(config), names_(config), log_(std::move(log)), on_news_(std::move(on_news)) {}

Result<std::unique_ptr<KeyedEvents>> KeyedEvents::Open(const std::string& path, const KafkaConfig& config, QueueLog log,
                                                       std::function<void(int32_t)> on_news) {
  std::unique_ptr<KeyedEvents> events(new KeyedEvents(config, std::move(log), std::move(on_news)));
  if (Status prepared = events->Prepare(path); !prepared.ok()) return prepared;
  events->thread_ = std::thread([self = events.get()] { self->Run(); });
  return events;
}

Status KeyedEvents::Prepare(const std::string& path) {
  if (Status created = sqlite::CreateFile(kKeyFile.what, path); !created.ok()) return created;
  Result<sqlite::Database> file = sqlite::Database::Open(path);
  if (!file.ok()) return file.TakeStatus();
  file_ = std::move(*file);
  if (Status present = sqlite::BringToPresent(kKeyFile, file_, path); !present.ok()) return present;
  const auto prepare = [this](sqlite::Statement& statement, const char* sql) {
    statement = file_.Prepare(sql);
    return statement.prepared();
  };
  // After a power failure the last transactions may be missing, but none in between: it is read again from there.
  const bool ok =
      file_.Execute("PRAGMA synchronous=NORMAL") &&
      prepare(find_,
              "SELECT count(*) FROM keyed WHERE id = ?1 AND priority = ?2 AND partition = ?3 AND place < ?4 "
              "AND abs(at - ?5) < ?6") &&
      prepare(insert_,
              "INSERT OR IGNORE INTO keyed (id, priority, partition, place, at) VALUES (?1, ?2, ?3, ?4, ?5)") &&
      prepare(set_next_,
              "INSERT INTO known (priority, partition, next) VALUES (?1, ?2, ?3) "
              "ON CONFLICT (priority, partition) DO UPDATE SET next = max(next, excluded.next)") &&
      prepare(find_next_, "SELECT next FROM known WHERE priority = ?1 AND partition = ?2") &&
      prepare(prune_, "DELETE FROM keyed WHERE at < ?1 AND seq IN (SELECT seq FROM keyed ORDER BY seq LIMIT ?2)");
  if (!ok) return file_.Failure();

  Result<std::unique_ptr<LogReader>> reader = LogReader::Open(config_, "keys", kReading, log_);
  if (!reader.ok()) return reader.TakeStatus();
  reader_ = std::move(*reader);
  return {};
}

KeyedEvents::~KeyedEvents() {
  Stop();
  Keep();
}

void KeyedEvents::Stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void KeyedEvents::Begin(const std::string& topic, int32_t partition, int64_t end) {
  const std::lock_guard lock(mutex_);
  find_next_.Bind(1, static_cast<int64_t>(names_.PriorityOf(topic)));
  find_next_.Bind(2, partition);
  Coverage coverage;
  if (find_next_.Step() == SQLITE_ROW) coverage.from = find_next_.Int(0);
  find_next_.Reset();
  coverage.end = end;
  if (coverage.from >= end) coverage.state = Coverage::State::kKnown;
  coverage_[{partition, topic}] = coverage;
}

void KeyedEvents::End(const std::string& topic, int32_t partition) {
  const std::lock_guard lock(mutex_);
  coverage_.erase({partition, topic});
}

KeyedEvents::Verdict KeyedEvents::Judge(const Source& source) {
  const std::lock_guard lock(mutex_);
  Coverage& coverage = coverage_[{source.partition, source.topic}];
  if (coverage.state == Coverage::State::kNotAsked) {
    coverage.state = Coverage::State::kReading;
    coverage.since_unix_ms = std::min(source.headers.accepted_at_unix_ms, UnixTimeMs()) - kWindowMs - kClocksMs;
    asked_ = true;
    changed_.notify_all();
  }
  if (coverage.state != Coverage::State::kKnown) return Verdict::kWait;

  // What cannot be looked up or remembered is sent: a second copy is better than none.
  BindKey(find_, source);
  find_.Bind(6, kWindowMs);
  const bool found = find_.Step() == SQLITE_ROW;
  const bool is_repeated = found && find_.Int(0) > 0;
  find_.Reset();
  if (!found || !Remember(source) || !KnowBelow(source.topic, source.partition, source.offset + 1)) Complain();
  return is_repeated ? Verdict::kRepeated : Verdict::kSend;
}

void KeyedEvents::BindKey(sqlite::Statement& statement, const Source& source) const {
  statement.BindText(1, source.headers.id);
  statement.Bind(2, static_cast<int64_t>(names_.PriorityOf(source.topic)));
  statement.Bind(3, source.partition);
  statement.Bind(4, source.offset);
  statement.Bind(5, source.headers.accepted_at_unix_ms);
}

bool KeyedEvents::Remember(const Source& source) {
  if (!BeginTransaction()) return false;
  BindKey(insert_, source);
  if (!insert_.Run()) return false;
  if (--until_prune_ > 0) return true;
  until_prune_ = kPruneEvery;
  prune_.Bind(1, UnixTimeMs() - kKeptMs);
  prune_.Bind(2, kPruneRows);
  return prune_.Run();
}

bool KeyedEvents::KnowBelow(const std::string& topic, int32_t partition, int64_t next) {
  if (!BeginTransaction()) return false;
  set_next_.Bind(1, static_cast<int64_t>(names_.PriorityOf(topic)));
  set_next_.Bind(2, partition);
  set_next_.Bind(3, next);
  return set_next_.Run();
}

bool KeyedEvents::BeginTransaction() {
  if (!in_transaction_) in_transaction_ = file_.Execute("BEGIN IMMEDIATE");
  return in_transaction_;
}

void KeyedEvents::Keep() {
  const std::lock_guard lock(mutex_);
  if (!in_transaction_) return;
  if (!file_.Execute("COMMIT")) {
    Complain();
    file_.Rollback();
  }
  in_transaction_ = false;
}

void KeyedEvents::Complain() {
  if (std::exchange(complained_, true)) return;
  log_(LogLevel::kError, "an Idempotency-Key cannot be remembered, so that a repeated one may be sent twice: " +
                             std::string(file_.Failure().message()));
}

bool KeyedEvents::stopping() const {
  const std::lock_guard lock(mutex_);
  return stopping_;
}

void KeyedEvents::Run() {
  bool warned = false;
  while (true) {
    std::map<Place, Coverage> wanted;
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [this] { return asked_ || stopping_; });
      if (stopping_) return;
      asked_ = false;
      for (const auto& each : coverage_) {
        if (each.second.state == Coverage::State::kReading) wanted.insert(each);
      }
    }
    if (wanted.empty()) continue;  // those who asked have ended
    const bool read = Read(wanted);
    std::set<int32_t> news;
    {
      std::unique_lock lock(mutex_);
      if (stopping_) return;
      if (!read) {
        if (!std::exchange(warned, true)) {
          log_(LogLevel::kWarning,
               "Kafka does not answer what was written in the last 24 h, tried again: until then "
               "mails with an Idempotency-Key wait");
        }
        asked_ = true;
        changed_.wait_for(lock, std::chrono::milliseconds(kAgainAfterMs), [this] { return stopping_; });
        continue;
      }
      for (const auto& [place, was] : wanted) {
        if (!KnowBelow(place.second, place.first, was.end)) Complain();
        const auto now = coverage_.find(place);
        if (now == coverage_.end() || now->second.end != was.end) continue;  // it ended, and perhaps began anew
        now->second.state = Coverage::State::kKnown;
        news.insert(place.first);
      }
    }
    warned = false;
    Keep();
    for (const int32_t partition : news) on_news_(partition);
  }
}

// False: not all of it, the cluster did not answer.
bool KeyedEvents::Read(const std::map<Place, Coverage>& wanted) {
  const OffsetListPtr list(rd_kafka_topic_partition_list_new(static_cast<int>(wanted.size())));
  for (const auto& [place, coverage] : wanted) {
    rd_kafka_topic_partition_list_add(list.get(), place.second.c_str(), place.first)->offset =
        std::max<int64_t>(0, coverage.since_unix_ms);
  }
  if (rd_kafka_offsets_for_times(reader_->client(), list.get(), kAskMs) != RD_KAFKA_RESP_ERR_NO_ERROR) return false;
  std::map<Place, int64_t> left;  // to be read up to there
  const OffsetListPtr assignment(rd_kafka_topic_partition_list_new(list->cnt));
  for (int i = 0; i < list->cnt; ++i) {
    const rd_kafka_topic_partition_t& each = list->elems[i];
    if (each.err != RD_KAFKA_RESP_ERR_NO_ERROR) return false;
    const Place place{each.partition, each.topic};
    const Coverage& coverage = wanted.at(place);
    if (each.offset < 0 || each.offset >= coverage.end) continue;  // nothing is that young
    left[place] = coverage.end;
    rd_kafka_topic_partition_list_add(assignment.get(), each.topic, each.partition)->offset =
        std::max(each.offset, coverage.from);
  }
  if (!reader_->Assign(assignment.get()).ok()) return false;
  int64_t heard = BootTimeMs();
  while (!left.empty() && !stopping() && BootTimeMs() - heard < 10 * kAskMs) {
    const MessagePtr message = reader_->Next(kPollMs);
    if (message == nullptr || message->rkt == nullptr) continue;
    const auto found = left.find({message->partition, rd_kafka_topic_name(message->rkt)});
    if (found == left.end()) continue;
    const bool is_end = message->err == RD_KAFKA_RESP_ERR__PARTITION_EOF;
    if (!is_end && message->err != RD_KAFKA_RESP_ERR_NO_ERROR) continue;  // passes; librdkafka logs it
    heard = BootTimeMs();
    if (!is_end && message->offset < found->second) {
      Source source;
      if (ReadSource(*message, source).ok() && IsKeyed(source)) {
        const std::lock_guard lock(mutex_);
        if (!Remember(source)) Complain();
      }
    }
    if (is_end || message->offset + 1 >= found->second) {
      left.erase(found);
    }
  }
  static_cast<void>(reader_->Assign(nullptr));
  return left.empty();
}

}  // namespace postbus::kafka
