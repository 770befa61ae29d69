// queue/sqlite/cancellation_table.h - the cancellations in a queue file: may an email be cancelled, which ones were,
// and what waits of them in `deferred`. One thread, the writer's, and its connection.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "queue/cancellations.h"
#include "queue/sqlite/database.h"
#include "queue/sqlite/rows.h"

namespace postbus::sqlite {

class CancellationTable {
 public:
  // `database` outlives it, or Close was called.
  Status Prepare(Database& database);
  void Close();

  // In the caller's transaction. kConflict, kNotFound: Queue::Cancel; kUnavailable: the file cannot be read or written.
  Status Add(std::string_view id);

  // Those that were added since the last call, by whatever process: into `known`, and for what waits of them how it
  // would end. After an error the next call reads them again.
  Status ReadNew(Cancellations& known, std::vector<Settlement>& waiting);

  bool Prune(int64_t before_unix_ms, int rows);

 private:
  Status MayBeAdded(std::string_view id);
  bool MayBeOlderThanItsStatus();

  Database* database_ = nullptr;
  Statement insert_, find_status_, find_id_, find_oldest_, read_new_, find_waiting_, prune_;
  int64_t last_read_ = 0;
};

}  // namespace postbus::sqlite
