#include "queue/sqlite/database.h"

#include <chrono>
#include <cstring>
#include <thread>
#include <utility>

#include "event/clock.h"

namespace postbus::sqlite {
namespace {

// How long a connection waits where another process is recovering the file or switching it to WAL.
constexpr int kBusyTimeoutMs = 5000;
constexpr auto kBusyPause = std::chrono::milliseconds(5);

}  // namespace

void Statement::BindText(int parameter, std::string_view text) {
  sqlite3_bind_text64(statement_, parameter, text.data(), text.size(), SQLITE_STATIC, SQLITE_UTF8);
}

void Statement::BindBlob(int parameter, std::string_view bytes) {
  sqlite3_bind_blob64(statement_, parameter, bytes.data(), bytes.size(), SQLITE_STATIC);
}

bool Statement::Run() {
  const int code = Step();
  Reset();
  return code == SQLITE_DONE || code == SQLITE_ROW;
}

std::string_view Statement::Bytes(int column) {
  const void* const bytes = sqlite3_column_blob(statement_, column);
  const int size = sqlite3_column_bytes(statement_, column);
  return {static_cast<const char*>(bytes), static_cast<size_t>(size)};
}

Result<Database> Database::Open(const std::string& path) {
  Database database;
  database.path_ = path;
  const int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE;
  if (sqlite3_open_v2(path.c_str(), &database.connection_, flags, nullptr) != SQLITE_OK) return database.Failure();
  sqlite3_busy_timeout(database.connection_, kBusyTimeoutMs);
  // Two that switch a new file to WAL at once would wait for each other: SQLite tells one of them without waiting.
  const int64_t deadline = BootTimeMs() + kBusyTimeoutMs;
  while (!database.Execute("PRAGMA journal_mode=WAL")) {
    if ((sqlite3_errcode(database.connection_) & 0xFF) != SQLITE_BUSY || BootTimeMs() >= deadline) {
      return database.Failure();
    }
    std::this_thread::sleep_for(kBusyPause);
  }
  // Large WAL: most rows are deleted before a checkpoint would have carried them into the file.
  if (!database.Execute("PRAGMA synchronous=FULL; PRAGMA wal_autocheckpoint=8192;"
                        "PRAGMA journal_size_limit=67108864; PRAGMA cache_size=-16384;")) {
    return database.Failure();
  }
  return database;
}

bool Database::Execute(const char* sql) {
  return sqlite3_exec(connection_, sql, nullptr, nullptr, nullptr) == SQLITE_OK;
}

Statement Database::Prepare(std::string_view sql) {
  sqlite3_stmt* statement = nullptr;
  sqlite3_prepare_v3(connection_, sql.data(), static_cast<int>(sql.size()), SQLITE_PREPARE_PERSISTENT, &statement,
                     nullptr);
  return Statement(statement);
}

Result<int64_t> Database::ReadNumber(std::string_view sql) {
  Statement statement = Prepare(sql);
  if (!statement.prepared() || statement.Step() != SQLITE_ROW) return Failure();
  return statement.Int(0);
}

void Database::Rollback() {
  if (sqlite3_get_autocommit(connection_) == 0) sqlite3_exec(connection_, "ROLLBACK", nullptr, nullptr, nullptr);
}

Status Database::Failure() const {
  std::string message = "queue file " + path_ + ": ";
  if (connection_ == nullptr) return Status::Unavailable(message + "out of memory");
  const int code = sqlite3_errcode(connection_) & 0xFF;
  const int system_error = sqlite3_system_errno(connection_);
  message += sqlite3_errmsg(connection_);
  if (code == SQLITE_FULL) message += ": free some space, work goes on by itself";
  if (code == SQLITE_BUSY) message += ": another process holds it too long";
  if ((code == SQLITE_IOERR || code == SQLITE_CANTOPEN) && system_error != 0) {
    message.append(" (").append(std::strerror(system_error)).append(")");
  }
  return Status::Unavailable(std::move(message));
}

}  // namespace postbus::sqlite
