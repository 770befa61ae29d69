// queue/sqlite/schema.h - the tables of a queue file, their format version, and the way a file becomes a queue.
// `user_version` is the format: a newer one is refused, an older one migrated.
#pragma once

#include <string>

#include "queue/sqlite/database.h"

namespace postbus::sqlite {

inline constexpr int kFormat = 2;

// Creates the file (0600) where there is none, brings its tables to the present format, and opens it. Several processes
// may do so at once. `path` is absolute.
Result<Database> OpenQueueFile(const std::string& path);

}  // namespace postbus::sqlite
