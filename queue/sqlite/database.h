// queue/sqlite/database.h - the little of SQLite's C interface that the queue needs: a connection and prepared
// statements that clean up after themselves. Calls answer true or false; the reason is the connection's Failure(). One
// thread at a time per connection, its statements included. A Statement must not outlive its Database.
#pragma once

#include <sqlite3.h>

#include <cstdint>
#include <string>
#include <string_view>

#include "event/status.h"

namespace postbus::sqlite {

class Statement {
 public:
  Statement() = default;
  explicit Statement(sqlite3_stmt* statement) : statement_(statement) {}
  Statement(Statement&& other) noexcept : statement_(std::exchange(other.statement_, nullptr)) {}
  Statement& operator=(Statement&& other) noexcept {
    std::swap(statement_, other.statement_);
    return *this;
  }
  ~Statement() { sqlite3_finalize(statement_); }

  bool prepared() const { return statement_ != nullptr; }

  // Parameters count from 1. Bytes are not copied: they stay valid until Run returns, or Reset.
  void Bind(int parameter, int64_t value) { sqlite3_bind_int64(statement_, parameter, value); }
  void BindText(int parameter, std::string_view text);
  void BindBlob(int parameter, std::string_view bytes);

  // One row further: SQLITE_ROW, SQLITE_DONE, or an error's code. Reset before the statement is used again.
  [[nodiscard]] int Step() { return sqlite3_step(statement_); }
  void Reset() { sqlite3_reset(statement_); }
  // For statements that yield no rows: Step and Reset; true if it went well.
  [[nodiscard]] bool Run();

  // Columns count from 0. Views are valid until the next Step or Reset.
  int64_t Int(int column) { return sqlite3_column_int64(statement_, column); }
  std::string_view Bytes(int column);

 private:
  sqlite3_stmt* statement_ = nullptr;
};

class Database {
 public:
  // Opens an existing file (an empty one is an empty database) as the queue uses it: WAL, synchronous=FULL.
  static Result<Database> Open(const std::string& path);

  Database() = default;
  Database(Database&& other) noexcept
      : connection_(std::exchange(other.connection_, nullptr)), path_(std::move(other.path_)) {}
  Database& operator=(Database&& other) noexcept {
    std::swap(connection_, other.connection_);
    std::swap(path_, other.path_);
    return *this;
  }
  ~Database() { sqlite3_close(connection_); }

  // Runs statements that yield no rows of interest.
  [[nodiscard]] bool Execute(const char* sql);
  // A statement to keep; not prepared() if it failed.
  Statement Prepare(std::string_view sql);
  // The first column of the first row; `otherwise` where there is none.
  Result<int64_t> ReadNumber(std::string_view sql);

  // Ends a transaction that failed, if it is still open.
  void Rollback();

  // Why the last call failed: kUnavailable, with file, SQLite's words and the operating system's.
  Status Failure() const;
  int ErrorCode() const { return sqlite3_errcode(connection_) & 0xFF; }
  int ChangedRows() const { return sqlite3_changes(connection_); }

  sqlite3* connection() const { return connection_; }

 private:
  sqlite3* connection_ = nullptr;
  std::string path_;
};

}  // namespace postbus::sqlite
