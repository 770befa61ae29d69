#include "queue/sqlite/sqlite_dead_letters.h"

#include <charconv>
#include <filesystem>
#include <system_error>
#include <utility>

#include "queue/sqlite/database.h"
#include "queue/sqlite/schema.h"
#include "queue/sqlite/wake_pipe.h"

namespace postbus::sqlite {
namespace {

constexpr const char* kCountSql[kPriorities] = {"UPDATE state SET next_seq = next_seq + 1, high = high + 1",
                                                "UPDATE state SET next_seq = next_seq + 1, normal = normal + 1",
                                                "UPDATE state SET next_seq = next_seq + 1, low = low + 1"};
constexpr const char* kInsertSql[kPriorities] = {
    "INSERT INTO high (seq, headers, value) SELECT next_seq - 1, ?1, ?2 FROM state",
    "INSERT INTO normal (seq, headers, value) SELECT next_seq - 1, ?1, ?2 FROM state",
    "INSERT INTO low (seq, headers, value) SELECT next_seq - 1, ?1, ?2 FROM state"};

DeadLetter LetterOf(Statement& row) {
  DeadLetter letter;
  letter.place = std::to_string(row.Int(0));
  letter.id = row.Bytes(1);
  letter.at_unix_ms = row.Int(2);
  letter.message = row.Bytes(3);
  if (Result<EventHeaders> headers = HeadersFromText(row.Bytes(4)); headers.ok()) letter.headers = std::move(*headers);
  EncodeHeaders(letter.headers, letter.record_headers);
  letter.value = row.Bytes(5);
  return letter;
}

class SqliteDeadLetters : public DeadLetters {
 public:
  SqliteDeadLetters(Database database, WakePipe pipe, int64_t last)
      : database_(std::move(database)), pipe_(std::move(pipe)), last_(last) {}

  Status ForEach(const std::function<Status(const DeadLetter&)>& each) override {
    Statement next = database_.Prepare(
        "SELECT seq, id, at, message, headers, value FROM dead_letters WHERE seq > ?1 AND seq <= ?2 "
        "ORDER BY seq LIMIT 1");
    if (!next.prepared()) return database_.Failure();
    int64_t seen = 0;
    while (true) {
      next.Bind(1, seen);
      next.Bind(2, last_);
      const int code = next.Step();
      if (code == SQLITE_DONE) return {};
      if (code != SQLITE_ROW) return database_.Failure();
      seen = next.Int(0);
      const DeadLetter letter = LetterOf(next);
      next.Reset();  // nothing is being read while `each` writes, or takes its time
      if (Status status = each(letter); !status.ok()) return status;
    }
  }

  Status Replay(const DeadLetter& letter) override {
    Result<ReplayedEvent> event = Replayed(letter, letter.value);
    if (!event.ok()) return event.TakeStatus();
    Status status = Take(letter, [&] { return Insert(*event, letter.value); });
    if (status.ok()) pipe_.Notify();
    return status;
  }

  Status Discard(const DeadLetter& letter) override {
    return Take(letter, [] { return true; });
  }

 private:
  // Deletes the letter and does `more` in the same transaction.
  template <typename More>
  Status Take(const DeadLetter& letter, const More& more) {
    if (!database_.Execute("BEGIN IMMEDIATE")) return database_.Failure();
    Status status;
    if (!Delete(letter)) {
      status = database_.Failure();
    } else if (database_.ChangedRows() == 0) {
      status = Status::NotFound("dead letter " + letter.place + " was replayed or discarded meanwhile");
    } else if (!more() || !database_.Execute("COMMIT")) {
      status = database_.Failure();
    }
    if (!status.ok()) database_.Rollback();
    return status;
  }

  bool Delete(const DeadLetter& letter) {
    int64_t seq = 0;
    std::from_chars(letter.place.data(), letter.place.data() + letter.place.size(), seq);
    Statement remove = database_.Prepare("DELETE FROM dead_letters WHERE seq = ?1");
    remove.Bind(1, seq);
    return remove.prepared() && remove.Run();
  }

  bool Insert(const ReplayedEvent& event, std::string_view value) {
    const auto priority = static_cast<size_t>(event.priority);
    const std::string headers = HeadersToText(event.headers);
    std::string record;
    EncodeStatus(event.queued, record);
    Statement insert = database_.Prepare(kInsertSql[priority]);
    insert.BindText(1, headers);
    insert.BindBlob(2, value);
    Statement report = database_.Prepare("INSERT INTO status (id, at, record) VALUES (?1, ?2, ?3)");
    report.BindText(1, event.queued.id);
    report.Bind(2, event.queued.at_unix_ms);
    report.BindText(3, record);
    return insert.prepared() && report.prepared() && database_.Execute(kCountSql[priority]) && insert.Run() &&
           report.Run();
  }

  Database database_;
  const WakePipe pipe_;
  const int64_t last_;  // the newest letter when it was opened
};

}  // namespace

Result<std::unique_ptr<DeadLetters>> OpenSqliteDeadLetters(const SqliteConfig& config) {
  std::error_code error;
  const std::string path = std::filesystem::absolute(config.path, error).string();
  if (error) return Status::Invalid("queue path \"" + config.path + "\": " + error.message());
  std::filesystem::create_directories(std::filesystem::path(path).parent_path(), error);  // shows when it is opened
  Result<Database> database = OpenQueueFile(path);
  if (!database.ok()) return database.TakeStatus();
  Result<WakePipe> pipe = WakePipe::Open(path);
  if (!pipe.ok()) return pipe.TakeStatus();
  Result<int64_t> last = database->ReadNumber("SELECT coalesce(max(seq), 0) FROM dead_letters");
  if (!last.ok()) return last.TakeStatus();
  return std::unique_ptr<DeadLetters>(
      std::make_unique<SqliteDeadLetters>(std::move(*database), std::move(*pipe), *last));
}

}  // namespace postbus::sqlite
