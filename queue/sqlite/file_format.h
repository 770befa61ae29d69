// queue/sqlite/file_format.h - the version of a SQLite file of ours, and how a file gets to the present one. Pure
// functions but for the file.
//
// A format is written major.minor; `PRAGMA user_version` is 100 * major + minor. A file is brought to the present
// format when it is opened, by the steps it lacks. What a step of the same major adds, a postbus that does not know it
// leaves alone without harm (a table; a column with a default: hence every INSERT names its columns): it opens a file
// with a higher minor and works on it. What it could not leave alone needs a new major, which it refuses.
#pragma once

#include <span>
#include <string>

#include "event/status.h"
#include "queue/sqlite/database.h"

namespace postbus::sqlite {

struct FormatStep {
  int version;      // user_version of a file that has it
  const char* sql;  // run in the transaction that writes the version
};

struct FileFormat {
  const char* what;                   // "queue file"
  int64_t application_id;             // PRAGMA application_id; 0 = it has none
  std::span<const FormatStep> steps;  // ascending; together they make a new file
  bool keep_backup;                   // of what was there, before a step is taken

  int newest() const { return steps.back().version; }
};

// Makes a file with what it has not yet: 0600, and its name is durable. Nothing happens to one that is there.
Status CreateFile(const std::string& what, const std::string& path);

// Takes the steps the file lacks, all or none; several processes may do so at once. Before that, with `keep_backup`, a
// copy of it as it is, on the disk, becomes `<path>.v<major>.<minor>.bak`, in place of one that is there.
// kInvalid: the file is another program's, or of another major. REQUIRES: no transaction is open on `database`.
Status BringToPresent(const FileFormat& format, Database& database, const std::string& path);

// "0.3"
std::string FormatName(int64_t version);

}  // namespace postbus::sqlite
