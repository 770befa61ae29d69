// queue/sqlite/schema.h - the tables of a queue file and its versions (queue/sqlite/file_format.h). A new table is a
// new step in schema.cc.
#pragma once

#include <cstdint>
#include <string>

#include "queue/sqlite/database.h"

namespace postbus::sqlite {

// How long status records are kept: as long as Kafka's topic keeps them.
inline constexpr int64_t kStatusKeptMs = int64_t{7} * 86'400'000;

// The id in a row's `headers`, which begin with "postbus-fmt:1\npostbus-id:ID\n"; a text nobody asks for where they do
// not. The index `deferred_id` is on this.
inline constexpr const char* kIdOfHeaders = "substr(headers, 26, instr(substr(headers, 26), char(10)) - 1)";

// Creates the file where there is none, brings it to the present format with a backup of what it was, and opens it.
// Several processes may do so at once. `path` is absolute.
Result<Database> OpenQueueFile(const std::string& path);

}  // namespace postbus::sqlite
