#include "queue/kafka/status_store.h"

#include <fcntl.h>

#include <cerrno>
#include <cstring>

#include "event/clock.h"
#include "queue/file_descriptor.h"
#include "queue/sqlite/status_rows.h"

namespace postbus::kafka {
namespace {

constexpr int64_t kKeptMs = int64_t{7} * 86'400'000;
constexpr int kPruneRows = 10'000;  // in one transaction

// A copy: what a power failure takes is read again.
constexpr const char* kPrepare = R"sql(
PRAGMA synchronous=OFF;
CREATE TABLE IF NOT EXISTS status (
  seq INTEGER PRIMARY KEY, partition INTEGER, place INTEGER, id TEXT NOT NULL, at INTEGER NOT NULL, record TEXT NOT NULL,
  UNIQUE (partition, place)
);
CREATE INDEX IF NOT EXISTS status_id ON status (id);
)sql";

}  // namespace

Result<std::unique_ptr<StatusStore>> StatusStore::Open(const std::string& path) {
  std::unique_ptr<StatusStore> store(new StatusStore());
  if (Status prepared = store->Prepare(path); !prepared.ok()) {
    return Status(prepared.kind(),
                  std::string(prepared.message()) + "; it is a copy of the status topic and may be deleted");
  }
  return store;
}

Status StatusStore::Prepare(const std::string& path) {
  {
    const FileDescriptor created(open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
    if (created.get() < 0 && errno != EEXIST) {
      return Status::Unavailable("status file " + path + " cannot be created: " + std::strerror(errno));
    }
  }
  Result<sqlite::Database> writing = sqlite::Database::Open(path);
  if (!writing.ok()) return writing.TakeStatus();
  writing_ = std::move(*writing);
  if (!writing_.Execute(kPrepare) || !writing_.Execute(sqlite::kCreateStatusRecipients)) return writing_.Failure();
  insert_ = writing_.Prepare("INSERT OR REPLACE INTO status VALUES (NULL, ?1, ?2, ?3, ?4, ?5)");
  insert_own_ = writing_.Prepare(
      "INSERT INTO status SELECT NULL, NULL, NULL, ?1, ?2, ?3 "
      "WHERE NOT EXISTS (SELECT 1 FROM status WHERE id = ?1 AND partition IS NULL)");
  insert_recipient_ = writing_.Prepare(sqlite::kInsertStatusRecipient);
  prune_recipients_ = writing_.Prepare(sqlite::kPruneStatusRecipients);
  prune_ = writing_.Prepare(
      "DELETE FROM status WHERE seq IN (SELECT seq FROM status ORDER BY seq LIMIT ?1) "
      "AND (at < ?2 OR seq <= (SELECT max(seq) FROM status) - ?3)");

  Result<sqlite::Database> reading = sqlite::Database::Open(path);
  if (!reading.ok()) return reading.TakeStatus();
  reading_ = std::move(*reading);
  if (!reading_.Execute("PRAGMA query_only=ON")) return reading_.Failure();
  // An email is accepted before anything else happens to it, whenever its record got here.
  find_ = reading_.Prepare("SELECT record FROM status WHERE id = ?1 ORDER BY partition IS NOT NULL, seq");
  find_ids_to_ = reading_.Prepare(sqlite::kFindIdsTo);
  const bool prepared = insert_.prepared() && insert_own_.prepared() && insert_recipient_.prepared() &&
                        prune_.prepared() && prune_recipients_.prepared() && find_.prepared() &&
                        find_ids_to_.prepared();
  return prepared ? Status() : writing_.Failure();
}

Status StatusStore::Write(std::span<const StoredStatus> records) {
  if (WriteAll(records)) return {};
  Status failure = writing_.Failure();
  writing_.Rollback();
  return failure;
}

bool StatusStore::WriteAll(std::span<const StoredStatus> records) {
  if (!writing_.Execute("BEGIN IMMEDIATE")) return false;
  for (const StoredStatus& status : records) {
    const bool own = status.partition == StoredStatus::kOwn;
    sqlite::Statement& insert = own ? insert_own_ : insert_;
    int parameter = 1;
    if (!own) {
      insert.Bind(parameter++, status.partition);
      insert.Bind(parameter++, status.offset);
    }
    insert.BindText(parameter++, status.id);
    insert.Bind(parameter++, status.at_unix_ms);
    insert.BindText(parameter++, status.record);
    if (!insert.Run()) return false;
    if (writing_.ChangedRows() == 0) continue;  // our own that is there already
    if (!sqlite::InsertStatusRecipients(insert_recipient_, status.recipient_hashes)) return false;
  }
  prune_.Bind(1, kPruneRows);
  prune_.Bind(2, UnixTimeMs() - kKeptMs);
  prune_.Bind(3, kMaxRecords);
  return prune_.Run() && prune_recipients_.Run() && writing_.Execute("COMMIT");
}

Result<std::map<int32_t, int64_t>> StatusStore::NextOffsets() {
  sqlite::Statement read =
      writing_.Prepare("SELECT partition, max(place) + 1 FROM status WHERE partition IS NOT NULL GROUP BY partition");
  if (!read.prepared()) return writing_.Failure();
  std::map<int32_t, int64_t> offsets;
  int step = read.Step();
  for (; step == SQLITE_ROW; step = read.Step()) offsets[static_cast<int32_t>(read.Int(0))] = read.Int(1);
  if (step != SQLITE_DONE) return writing_.Failure();
  return offsets;
}

Result<std::vector<std::string>> StatusStore::IdsTo(uint64_t recipient_hash, size_t limit) {
  const std::lock_guard lock(mutex_);
  return sqlite::ReadIdsTo(reading_, find_ids_to_, recipient_hash, limit);
}

Result<std::vector<StatusRecord>> StatusStore::Find(std::string_view id) {
  const std::lock_guard lock(mutex_);
  return sqlite::ReadStatusRecords(reading_, find_, id);
}

}  // namespace postbus::kafka
