// queue/sqlite/sqlite_dead_letters.h - the dead letters of a queue file. Attaches to it as a producer does; a running
// host is woken by a replay. Replay and Discard are one transaction each.
#pragma once

#include "queue/dead_letters.h"

namespace postbus::sqlite {

Result<std::unique_ptr<DeadLetters>> OpenSqliteDeadLetters(const SqliteConfig& config);

}  // namespace postbus::sqlite
