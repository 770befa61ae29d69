#include "queue/sqlite/schema.h"

#include <array>

#include "queue/sqlite/file_format.h"
#include "queue/sqlite/status_rows.h"

namespace postbus::sqlite {
namespace {

constexpr int64_t kApplicationId = 0x70627173;  // "pbqs": PRAGMA application_id of a queue file

// `seq` numbers all events and copies of a file in the order of their commits, whatever table they are in; numbers
// never come back, so a reader that remembers the last one misses nothing. `headers` is HeadersToText().
constexpr const char* kCreate = R"sql(
CREATE TABLE state (
  next_seq INTEGER NOT NULL,  -- the number of the next event
  high INTEGER NOT NULL, normal INTEGER NOT NULL, low INTEGER NOT NULL,  -- rows in each table
  deferred INTEGER NOT NULL
);
INSERT INTO state VALUES (1, 0, 0, 0, 0);
CREATE TABLE high   (seq INTEGER PRIMARY KEY, headers TEXT NOT NULL, value BLOB NOT NULL);
CREATE TABLE normal (seq INTEGER PRIMARY KEY, headers TEXT NOT NULL, value BLOB NOT NULL);
CREATE TABLE low    (seq INTEGER PRIMARY KEY, headers TEXT NOT NULL, value BLOB NOT NULL);
CREATE TABLE deferred (
  seq INTEGER PRIMARY KEY, priority INTEGER NOT NULL, due INTEGER NOT NULL, headers TEXT NOT NULL, value BLOB NOT NULL
);
CREATE INDEX deferred_due ON deferred (priority, due);
CREATE TABLE dead_letters (
  seq INTEGER PRIMARY KEY, id TEXT NOT NULL, at INTEGER NOT NULL, message TEXT NOT NULL, headers TEXT NOT NULL,
  value BLOB NOT NULL
);
CREATE INDEX dead_letters_id ON dead_letters (id);
CREATE TABLE status (seq INTEGER PRIMARY KEY, id TEXT NOT NULL, at INTEGER NOT NULL, record TEXT NOT NULL);
CREATE INDEX status_id ON status (id);
)sql";

// The requests that clients may repeat (Idempotency-Key).
constexpr const char* kCreateRequests = R"sql(
CREATE TABLE requests (seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, at INTEGER NOT NULL, digest BLOB NOT NULL);
)sql";

// The turns that are claimed (ShardQueue::Claim), by the `seq` of their row.
constexpr const char* kCreateClaims = "CREATE TABLE claims (seq INTEGER PRIMARY KEY)";

// What is to be cancelled. A postbus that does not know it does no harm but to send what was cancelled and is still in
// the file. The index is on kIdOfHeaders, to the letter.
constexpr const char* kCreateCancellations = R"sql(
CREATE TABLE cancellations (seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, at INTEGER NOT NULL);
CREATE INDEX deferred_id ON deferred (substr(headers, 26, instr(substr(headers, 26), char(10)) - 1));
)sql";

constexpr std::array kSteps = {
    FormatStep{1, kCreate},       FormatStep{2, kCreateRequests},      FormatStep{3, kCreateStatusRecipients},
    FormatStep{4, kCreateClaims}, FormatStep{5, kCreateCancellations},
};
constexpr FileFormat kQueueFile = {"queue file", kApplicationId, kSteps, /*keep_backup=*/true};

}  // namespace

Result<Database> OpenQueueFile(const std::string& path) {
  if (Status created = CreateFile(kQueueFile.what, path); !created.ok()) return created;
  Result<Database> database = Database::Open(path);
  if (!database.ok()) return database;
  if (Status present = BringToPresent(kQueueFile, *database, path); !present.ok()) return present;
  return database;
}

}  // namespace postbus::sqlite
