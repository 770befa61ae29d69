// queue/sqlite/schema.h - the tables of a queue file and its versions (queue/sqlite/file_format.h). A new table is a
// new step in schema.cc.
#pragma once

#include <string>

#include "queue/sqlite/database.h"

namespace postbus::sqlite {

// Creates the file where there is none, brings it to the present format with a backup of what it was, and opens it.
// Several processes may do so at once. `path` is absolute.
Result<Database> OpenQueueFile(const std::string& path);

}  // namespace postbus::sqlite
