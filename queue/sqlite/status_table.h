// queue/sqlite/status_table.h - the status table of a queue file, for who asks. Reads on a connection of its own, which
// neither waits for the writer nor holds it up. Thread-safe.
#pragma once

#include <memory>

#include "queue/status_history.h"

namespace postbus::sqlite {

Result<std::unique_ptr<StatusHistory>> OpenStatusTable(const QueueConfig& config);

}  // namespace postbus::sqlite
