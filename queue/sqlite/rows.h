// queue/sqlite/rows.h - what passes between shards, dispenser and writer. Value types.
#pragma once

#include <cstdint>
#include <functional>
#include <iterator>
#include <string>
#include <utility>
#include <vector>

#include "event/email_event.h"
#include "event/status.h"
#include "queue/journal.h"

namespace postbus::sqlite {

// Where an event stands in the file.
struct RowRef {
  Priority priority = Priority::kNormal;
  bool deferred = false;  // in `deferred`, not in the table of its priority
  int64_t seq = 0;
};

struct EventRow {
  RowRef ref;
  std::string headers;
  std::string value;
};

struct DeferredRow {
  int64_t due_unix_ms = 0;
  std::string headers;
  std::string value;
};

struct DeadLetterRow {
  std::string id;
  std::string message;
  std::string headers;
  std::string value;
};

struct StatusRow {
  std::string id;
  int64_t at_unix_ms = 0;
  std::string record;
  std::vector<uint64_t> recipient_hashes;  // by whom the email is to be found through this row
};

struct NewRow {
  Priority priority = Priority::kNormal;
  std::string headers;
  std::string value;
  StatusRow queued;
};

// What was published in one go: written in one transaction, or not at all.
struct NewRows {
  std::vector<NewRow> rows;
  std::string request_id;  // empty: none
  std::string digest;
  std::function<void(const Status&)> done;

  size_t bytes() const {
    size_t sum = 0;
    for (const NewRow& row : rows) sum += row.value.size();
    return sum;
  }
};

// A turn is claimed (ShardQueue::Claim), or is not any more.
struct ClaimChange {
  int64_t seq = 0;
  bool claimed = true;
  size_t shard = 0;  // to be told when the claim is durable
};

// What somebody wants to be cancelled.
struct CancelRequest {
  std::string id;
  std::function<void(const Status&)> done;
};

// A turn that has ended: written in one transaction, or not at all.
struct Settlement {
  RowRef row;                         // deleted
  TurnMarks marks;                    // released
  bool claimed = false;               // ends with it
  std::vector<DeferredRow> deferred;  // of row.priority
  std::vector<DeadLetterRow> dead_letters;
  std::vector<StatusRow> statuses;
  bool without_turn = false;  // it was cancelled while it waited
};

// What a shard has to be written, in this order.
struct HostWork {
  std::vector<ClaimChange> claims;
  std::vector<Settlement> settlements;

  bool empty() const { return claims.empty() && settlements.empty(); }
  void Append(HostWork more) {
    std::move(more.claims.begin(), more.claims.end(), std::back_inserter(claims));
    std::move(more.settlements.begin(), more.settlements.end(), std::back_inserter(settlements));
  }
};

}  // namespace postbus::sqlite
