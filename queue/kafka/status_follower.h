// queue/kafka/status_follower.h - follows `<prefix>-status` with a client of its own, which joins no group and commits
// nothing (another one follows `<prefix>-cancellations`), and keeps what it reads in `<state_dir>/<prefix>-status.db`.
// It begins where that file ends, or 24 h ago.
//
// One thread reads and writes; Find and NoteQueued by any. What this process accepted is known to Find at once and is
// in the file within moments; a crash in between forgets that it was accepted here, not what becomes of it.
#pragma once

#include <memory>

#include "queue/status_history.h"

namespace postbus::kafka {

Result<std::unique_ptr<StatusHistory>> FollowStatus(const QueueConfig& config, QueueLog log);

}  // namespace postbus::kafka
