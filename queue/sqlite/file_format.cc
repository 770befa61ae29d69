#include "queue/sqlite/file_format.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <utility>

#include "queue/file_descriptor.h"

namespace postbus::sqlite {
namespace {

constexpr int kPerMajor = 100;

// A name in it survives a power failure.
bool SyncDirectoryOf(const std::string& path) {
  const std::string directory = std::filesystem::path(path).parent_path();
  const FileDescriptor parent(open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  return parent.get() >= 0 && fsync(parent.get()) == 0;
}

// A copy of the file as it is; whole, or not there. REQUIRES: another connection has the write lock, so that nobody
// changes the file. That one cannot do this: it is in a transaction.
Status CopyTo(const std::string& backup, const std::string& path) {
  const std::string unfinished = backup + ".new";
  unlink(unfinished.c_str());  // of a process that was killed
  const FileDescriptor file(open(unfinished.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  Status failure;
  if (file.get() < 0) {
    failure = Status::Unavailable(unfinished + " cannot be created: " + std::strerror(errno));
  } else if (Result<Database> reading = Database::Open(path); !reading.ok()) {
    failure = reading.TakeStatus();
  } else if (Statement vacuum = reading->Prepare("VACUUM INTO ?1"); !vacuum.prepared()) {
    failure = reading->Failure();
  } else {
    vacuum.BindText(1, unfinished);
    if (!vacuum.Run()) failure = reading->Failure();
  }
  if (failure.ok() &&
      (fsync(file.get()) != 0 || std::rename(unfinished.c_str(), backup.c_str()) != 0 || !SyncDirectoryOf(backup))) {
    failure = Status::Unavailable(backup + " cannot be written: " + std::strerror(errno));
  }
  if (!failure.ok()) unlink(unfinished.c_str());
  return failure;
}

// REQUIRES: a write transaction is open, so that nobody else does the same.
Status TakeSteps(const FileFormat& format, Database& database, const std::string& path) {
  Result<int64_t> version = database.ReadNumber("PRAGMA user_version");
  if (!version.ok()) return version.TakeStatus();
  Result<int64_t> application = database.ReadNumber("PRAGMA application_id");
  if (!application.ok()) return application.TakeStatus();
  Result<int64_t> tables = database.ReadNumber("SELECT count(*) FROM sqlite_schema");
  if (!tables.ok()) return tables.TakeStatus();

  const std::string file = std::string(format.what) + " " + path;
  const bool is_new = *tables == 0;
  if (!is_new && *application != format.application_id) {
    return Status::Invalid(file + " is another program's SQLite database: choose another path");
  }
  if (*version / kPerMajor > format.newest() / kPerMajor) {
    return Status::Invalid(file + " has format " + FormatName(*version) + ", this postbus knows " +
                           FormatName(format.newest()) + ": start the newer postbus that wrote it" +
                           (format.keep_backup ? ", or go back to a backup (docs/upgrading.md)" : ""));
  }
  if (*version >= format.newest()) return {};
  if (!is_new && format.keep_backup) {
    const std::string backup = path + ".v" + FormatName(*version) + ".bak";
    if (Status copied = CopyTo(backup, path); !copied.ok()) {
      return Status(copied.kind(), file + " stays as it is, in format " + FormatName(*version) +
                                       ": it would be brought to " + FormatName(format.newest()) +
                                       ", but no backup could be made of it first: " + std::string(copied.message()));
    }
  }
  for (const FormatStep& step : format.steps) {
    if (step.version > *version && !database.Execute(step.sql)) return database.Failure();
  }
  const std::string marks = "PRAGMA application_id=" + std::to_string(format.application_id) +
                            ";PRAGMA user_version=" + std::to_string(format.newest());
  return database.Execute(marks.c_str()) ? Status() : database.Failure();
}

}  // namespace

std::string FormatName(int64_t version) {
  return std::to_string(version / kPerMajor) + "." + std::to_string(version % kPerMajor);
}

Status CreateFile(const std::string& what, const std::string& path) {
  // O_EXCL: an existing file must not be opened here. Closing any descriptor of it would drop SQLite's POSIX locks in
  // this process.
  const int fd = open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (fd < 0 && errno != EEXIST) {
    return Status::Unavailable(what + " " + path + " cannot be created: " + std::strerror(errno));
  }
  if (fd < 0) return {};
  close(fd);
  // The new name must survive a power failure as well as what is committed into the file.
  if (SyncDirectoryOf(path)) return {};
  return Status::Unavailable("the directory of " + path + " cannot be synced: " + std::strerror(errno));
}

Status BringToPresent(const FileFormat& format, Database& database, const std::string& path) {
  if (!database.Execute("BEGIN IMMEDIATE")) return database.Failure();
  Status taken = TakeSteps(format, database, path);
  if (taken.ok() && !database.Execute("COMMIT")) taken = database.Failure();
  if (!taken.ok()) database.Rollback();
  return taken;
}

}  // namespace postbus::sqlite
