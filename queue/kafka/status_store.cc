#include "queue/kafka/status_store.h"

#include <array>

#include "event/clock.h"
#include "queue/sqlite/file_format.h"
#include "queue/sqlite/status_rows.h"

namespace postbus::kafka {
namespace {

constexpr int64_t kKeptMs = int64_t{7} * 86'400'000;
constexpr int kPruneRows = 10'000;  // in one transaction

// A file of before there were versions has the first, or both.
constexpr const char* kCreateStatus = R"sql(
CREATE TABLE IF NOT EXISTS status (
  seq INTEGER PRIMARY KEY, partition INTEGER, place INTEGER, id TEXT NOT NULL, at INTEGER NOT NULL, record TEXT NOT NULL,
  UNIQUE (partition, place)
);
CREATE INDEX IF NOT EXISTS status_id ON status (id);
)sql";
constexpr std::array kSteps = {
    sqlite::FormatStep{1, kCreateStatus},
    sqlite::FormatStep{2, sqlite::kCreateStatusRecipients},
};
constexpr sqlite::FileFormat kStatusFile = {"status file", /*application_id=*/0, kSteps, /*keep_backup=*/false};

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
  if (Status created = sqlite::CreateFile(kStatusFile.what, path); !created.ok()) return created;
  Result<sqlite::Database> writing = sqlite::Database::Open(path);
  if (!writing.ok()) return writing.TakeStatus();
  writing_ = std::move(*writing);
  // A copy: what a power failure takes is read again.
  if (!writing_.Execute("PRAGMA synchronous=OFF")) return writing_.Failure();
  if (Status present = sqlite::BringToPresent(kStatusFile, writing_, path); !present.ok()) return present;
  const auto prepare = [](sqlite::Database& database, sqlite::Statement& statement, const char* sql) {
    statement = database.Prepare(sql);
    return statement.prepared();
  };
  if (!prepare(writing_, insert_,
               "INSERT OR REPLACE INTO status (partition, place, id, at, record) VALUES (?1, ?2, ?3, ?4, ?5)") ||
      !prepare(writing_, insert_own_,
               "INSERT INTO status (id, at, record) SELECT ?1, ?2, ?3 "
               "WHERE NOT EXISTS (SELECT 1 FROM status WHERE id = ?1 AND partition IS NULL)") ||
      !prepare(writing_, insert_recipient_, sqlite::kInsertStatusRecipient) ||
      !prepare(writing_, prune_recipients_, sqlite::kPruneStatusRecipients) ||
      !prepare(writing_, prune_,
               "DELETE FROM status WHERE seq IN (SELECT seq FROM status ORDER BY seq LIMIT ?1) "
               "AND (at < ?2 OR seq <= (SELECT max(seq) FROM status) - ?3)")) {
    return writing_.Failure();
  }

  Result<sqlite::Database> reading = sqlite::Database::Open(path);
  if (!reading.ok()) return reading.TakeStatus();
  reading_ = std::move(*reading);
  if (!reading_.Execute("PRAGMA query_only=ON")) return reading_.Failure();
  // An email is accepted before anything else happens to it, whenever its record got here.
  if (!prepare(reading_, find_, "SELECT record FROM status WHERE id = ?1 ORDER BY partition IS NOT NULL, seq") ||
      !prepare(reading_, find_ids_to_, sqlite::kFindIdsTo)) {
    return reading_.Failure();
  }
  return {};
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
