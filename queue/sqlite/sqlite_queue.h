// queue/sqlite/sqlite_queue.h - the queue of one machine: a SQLite file (WAL, synchronous=FULL).
#pragma once

#include "queue/queue.h"

namespace postbus::sqlite {

Result<std::unique_ptr<Queue>> OpenSqliteQueue(const QueueConfig& config, Role role, QueueLog log);

}  // namespace postbus::sqlite
