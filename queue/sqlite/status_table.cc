#include "queue/sqlite/status_table.h"

#include <filesystem>
#include <mutex>

#include "queue/sqlite/database.h"
#include "queue/sqlite/schema.h"
#include "queue/sqlite/status_rows.h"

namespace postbus::sqlite {
namespace {

class StatusTable final : public StatusHistory {
 public:
  Status Open(const std::string& path) {
    Result<Database> database = OpenQueueFile(path);
    if (!database.ok()) return database.TakeStatus();
    database_ = std::move(*database);
    if (!database_.Execute("PRAGMA query_only=ON")) return database_.Failure();
    find_ = database_.Prepare("SELECT record FROM status WHERE id = ?1 ORDER BY seq");
    find_ids_to_ = database_.Prepare(kFindIdsTo);
    return find_.prepared() && find_ids_to_.prepared() ? Status() : database_.Failure();
  }

  Result<std::vector<StatusRecord>> Find(std::string_view id) override {
    const std::lock_guard lock(mutex_);
    return ReadStatusRecords(database_, find_, id);
  }

  Result<std::vector<std::string>> IdsTo(uint64_t recipient_hash, size_t limit) override {
    const std::lock_guard lock(mutex_);
    return ReadIdsTo(database_, find_ids_to_, recipient_hash, limit);
  }

  void NoteQueued(std::span<const StatusRecord>) override {}  // the event's transaction wrote it

 private:
  std::mutex mutex_;  // guards the rest
  Database database_;
  Statement find_, find_ids_to_;
};

}  // namespace

Result<std::unique_ptr<StatusHistory>> OpenStatusTable(const QueueConfig& config) {
  std::error_code error;
  const std::string path = std::filesystem::absolute(config.sqlite.path, error).string();
  if (error) return Status::Invalid("queue path \"" + config.sqlite.path + "\": " + error.message());
  auto table = std::make_unique<StatusTable>();
  if (Status opened = table->Open(path); !opened.ok()) return opened;
  return std::unique_ptr<StatusHistory>(std::move(table));
}

}  // namespace postbus::sqlite
