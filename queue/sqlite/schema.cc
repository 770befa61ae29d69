#include "queue/sqlite/schema.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

#include "queue/file_descriptor.h"
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

// Since format 2: the requests that clients may repeat (Idempotency-Key).
constexpr const char* kCreateRequests = R"sql(
CREATE TABLE requests (seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, at INTEGER NOT NULL, digest BLOB NOT NULL);
)sql";

// Beside the tables of a format, as a postbus that does not know it does no harm by that but to send what was cancelled
// and is still in the file.
constexpr const char* kCreateCancellations = R"sql(
CREATE TABLE IF NOT EXISTS cancellations (
  seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, at INTEGER NOT NULL
);
)sql";

Status CreateFile(const std::string& path) {
  // O_EXCL: an existing file must not be opened here. Closing any descriptor of it would drop SQLite's POSIX locks in
  // this process.
  const int fd = open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (fd < 0 && errno != EEXIST) {
    return Status::Unavailable("queue file " + path + " cannot be created: " + std::strerror(errno));
  }
  if (fd < 0) return {};
  close(fd);
  // The new name must survive a power failure as well as what is committed into the file.
  const std::string directory = std::filesystem::path(path).parent_path();
  const FileDescriptor parent(open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (parent.get() < 0 || fsync(parent.get()) != 0) {
    return Status::Unavailable("directory " + directory + " cannot be synced: " + std::strerror(errno));
  }
  return {};
}

// REQUIRES: a write transaction is open, so nobody else is migrating.
Status Migrate(Database& database, const std::string& path) {
  Result<int64_t> format = database.ReadNumber("PRAGMA user_version");
  if (!format.ok()) return format.TakeStatus();
  Result<int64_t> application = database.ReadNumber("PRAGMA application_id");
  if (!application.ok()) return application.TakeStatus();
  Result<int64_t> tables = database.ReadNumber("SELECT count(*) FROM sqlite_schema");
  if (!tables.ok()) return tables.TakeStatus();

  const std::string mark = "PRAGMA user_version=" + std::to_string(kFormat);
  if (*tables == 0) {
    const std::string marks = "PRAGMA application_id=" + std::to_string(kApplicationId) + ";" + mark;
    const bool created =
        database.Execute(kCreate) && database.Execute(kCreateRequests) && database.Execute(marks.c_str());
    return created ? Status() : database.Failure();
  }
  if (*application != kApplicationId) {
    return Status::Invalid("queue file " + path + " is another program's SQLite database: choose another queue path");
  }
  if (*format > kFormat) {
    return Status::Invalid("queue file " + path + " has format " + std::to_string(*format) + ", this postbus knows " +
                           std::to_string(kFormat) + ": start the newer postbus that wrote it");
  }
  if (*format < 2 && !(database.Execute(kCreateRequests) && database.Execute(mark.c_str()))) return database.Failure();
  return {};
}

}  // namespace

Result<Database> OpenQueueFile(const std::string& path) {
  if (Status created = CreateFile(path); !created.ok()) return created;
  Result<Database> database = Database::Open(path);
  if (!database.ok()) return database;
  if (!database->Execute("BEGIN IMMEDIATE")) return database->Failure();
  Status migrated = Migrate(*database, path);
  const std::string find_deferred =
      std::string("CREATE INDEX IF NOT EXISTS deferred_id ON deferred (") + kIdOfHeaders + ")";
  if (migrated.ok() && !(database->Execute(kCreateStatusRecipients) && database->Execute(kCreateCancellations) &&
                         database->Execute(find_deferred.c_str()))) {
    migrated = database->Failure();
  }
  if (!migrated.ok()) {
    database->Rollback();
    return migrated;
  }
  if (!database->Execute("COMMIT")) return database->Failure();
  return database;
}

}  // namespace postbus::sqlite
