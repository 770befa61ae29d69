// The conformance suite's harness for SQLite: a queue file in a temporary directory.
#include <sqlite3.h>
#include <stdlib.h>

#include <filesystem>
#include <stdexcept>

#include "queue/sqlite/sqlite_dead_letters.h"
#include "queue/sqlite/sqlite_queue.h"
#include "tests/queue/queue_harness.h"

namespace postbus {
namespace {

class SqliteHarness : public QueueHarness {
 public:
  SqliteHarness() {
    std::string directory = std::filesystem::temp_directory_path() / "postbus-queue-XXXXXX";
    if (mkdtemp(directory.data()) == nullptr) throw std::runtime_error("mkdtemp failed");
    directory_ = directory;
    config_.type = QueueConfig::Type::kSqlite;
    config_.sqlite.path = directory_ / "queue.db";
  }
  ~SqliteHarness() override { std::filesystem::remove_all(directory_); }

  Result<std::unique_ptr<Queue>> Open(Role role) override {
    config_.at_most_once = at_most_once;
    return sqlite::OpenSqliteQueue(config_, role, [](LogLevel, std::string_view) {});
  }

  void DeleteJournals() override { std::filesystem::remove(config_.sqlite.path + ".host-journal"); }

  std::vector<StoredDeadLetter> DeadLetters() override {
    std::vector<StoredDeadLetter> letters;
    ForEachRow("SELECT id, headers, message, value FROM dead_letters ORDER BY seq", [&](const auto& column) {
      letters.push_back({column(0), ValueOf(HeadersFromText(column(1))), column(2), column(3)});
    });
    return letters;
  }

  std::vector<StatusRecord> StatusRecords() override {
    std::vector<StatusRecord> records;
    ForEachRow("SELECT record FROM status ORDER BY seq",
               [&](const auto& column) { records.push_back(ValueOf(DecodeStatus(column(0)))); });
    return records;
  }

  Result<std::unique_ptr<postbus::DeadLetters>> OpenDeadLetters() override {
    return sqlite::OpenSqliteDeadLetters(config_.sqlite);
  }

 private:
  template <typename T>
  static T ValueOf(Result<T> result) {
    if (!result.ok()) throw std::runtime_error(std::string(result.status().message()));
    return *result;
  }

  template <typename Row>
  void ForEachRow(const char* sql, Row&& row) {
    sqlite3* connection = nullptr;
    sqlite3_stmt* statement = nullptr;
    if (sqlite3_open(config_.sqlite.path.c_str(), &connection) != SQLITE_OK ||
        sqlite3_prepare_v2(connection, sql, -1, &statement, nullptr) != SQLITE_OK) {
      throw std::runtime_error(sqlite3_errmsg(connection));
    }
    while (sqlite3_step(statement) == SQLITE_ROW) {
      row([&](int column) {
        const auto* const bytes = static_cast<const char*>(sqlite3_column_blob(statement, column));
        return std::string(bytes, static_cast<size_t>(sqlite3_column_bytes(statement, column)));
      });
    }
    sqlite3_finalize(statement);
    sqlite3_close(connection);
  }

  std::filesystem::path directory_;
  QueueConfig config_;
};

}  // namespace

std::unique_ptr<QueueHarness> NewQueueHarness(std::string&) { return std::make_unique<SqliteHarness>(); }

}  // namespace postbus
