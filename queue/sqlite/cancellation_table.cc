#include "queue/sqlite/cancellation_table.h"

#include <string>
#include <utility>

#include "event/clock.h"
#include "queue/event_headers.h"
#include "queue/sqlite/schema.h"
#include "queue/sqlite/status_rows.h"

namespace postbus::sqlite {
namespace {

Settlement EndOf(RowRef row, const EventHeaders& headers) {
  StatusRecord record;
  record.id = headers.id;
  record.change = Change::kCancelled;
  record.recipients = headers.recipients;
  record.at_unix_ms = UnixTimeMs();
  record.replay = headers.replay;
  Settlement settlement;
  settlement.row = row;
  settlement.without_turn = true;
  StatusRow& status = settlement.statuses.emplace_back();
  status.id = record.id;
  status.at_unix_ms = record.at_unix_ms;
  EncodeStatus(record, status.record);
  return settlement;
}

}  // namespace

Status CancellationTable::Prepare(Database& database) {
  database_ = &database;
  insert_ = database.Prepare("INSERT OR IGNORE INTO cancellations (id, at) VALUES (?1, ?2)");
  find_status_ = database.Prepare("SELECT record FROM status WHERE id = ?1 ORDER BY seq");
  const std::string id_of_row = std::string(" FROM deferred WHERE ") + kIdOfHeaders + " = ";
  find_id_ = database.Prepare("SELECT 1 FROM cancellations WHERE id = ?1 UNION ALL SELECT 1" + id_of_row + "?1");
  find_oldest_ = database.Prepare(
      "SELECT * FROM (SELECT headers FROM high ORDER BY seq LIMIT 1) UNION ALL "
      "SELECT * FROM (SELECT headers FROM normal ORDER BY seq LIMIT 1) UNION ALL "
      "SELECT * FROM (SELECT headers FROM low ORDER BY seq LIMIT 1)");
  read_new_ = database.Prepare("SELECT seq, id, at FROM cancellations WHERE seq > ?1 ORDER BY seq");
  find_waiting_ = database.Prepare("SELECT seq, priority, headers" + id_of_row + "?1");
  prune_ = database.Prepare(
      "DELETE FROM cancellations WHERE at < ?1 AND seq IN (SELECT seq FROM cancellations ORDER BY seq LIMIT ?2)");
  const bool prepared = insert_.prepared() && find_status_.prepared() && find_id_.prepared() &&
                        find_oldest_.prepared() && read_new_.prepared() && find_waiting_.prepared() &&
                        prune_.prepared();
  return prepared ? Status() : database.Failure();
}

void CancellationTable::Close() {
  for (Statement* statement :
       {&insert_, &find_status_, &find_id_, &find_oldest_, &read_new_, &find_waiting_, &prune_}) {
    *statement = Statement();
  }
}

Status CancellationTable::Add(std::string_view id) {
  if (Status may = MayBeAdded(id); !may.ok()) return may;
  insert_.BindText(1, id);
  insert_.Bind(2, UnixTimeMs());
  return insert_.Run() ? Status() : database_->Failure();
}

Status CancellationTable::MayBeAdded(std::string_view id) {
  const Result<std::vector<StatusRecord>> history = ReadStatusRecords(*database_, find_status_, id);
  if (history.ok()) return MayBeCancelled(*history);
  if (history.status().kind() != ErrorKind::kNotFound) return database_->Failure();
  // Status records are not kept as long as an email may wait.
  find_id_.BindText(1, id);
  const int found = find_id_.Step();
  find_id_.Reset();
  if (found == SQLITE_ROW || (found == SQLITE_DONE && MayBeOlderThanItsStatus())) return {};
  if (found != SQLITE_DONE) return database_->Failure();
  return Status::NotFound("no email with this id is known");
}

// Is an event in the file that nobody has begun for longer than status records are kept?
bool CancellationTable::MayBeOlderThanItsStatus() {
  bool is_there = false;
  while (find_oldest_.Step() == SQLITE_ROW) {
    const Result<EventHeaders> headers = HeadersFromText(find_oldest_.Bytes(0));
    is_there = is_there || !headers.ok() || headers->accepted_at_unix_ms < UnixTimeMs() - kStatusKeptMs;
  }
  find_oldest_.Reset();
  return is_there;
}

Status CancellationTable::ReadNew(Cancellations& known, std::vector<Settlement>& waiting) {
  std::vector<Settlement> found;
  int64_t last = last_read_;
  read_new_.Bind(1, last_read_);
  int step = read_new_.Step();
  for (; step == SQLITE_ROW; step = read_new_.Step()) {
    last = read_new_.Int(0);
    const std::string id(read_new_.Bytes(1));
    known.Add(id, read_new_.Int(2));
    find_waiting_.BindText(1, id);
    int row = find_waiting_.Step();
    for (; row == SQLITE_ROW; row = find_waiting_.Step()) {
      const RowRef ref{static_cast<Priority>(find_waiting_.Int(1)), true, find_waiting_.Int(0)};
      const Result<EventHeaders> headers = HeadersFromText(find_waiting_.Bytes(2));
      // What this postbus cannot read stays: its turn will tell.
      if (headers.ok() && headers->format <= EventHeaders::kFormat && headers->id == id) {
        found.push_back(EndOf(ref, *headers));
      }
    }
    find_waiting_.Reset();
    if (row != SQLITE_DONE) {
      step = row;
      break;
    }
  }
  Status failure = step == SQLITE_DONE ? Status() : database_->Failure();
  read_new_.Reset();
  if (!failure.ok()) return failure;
  last_read_ = last;
  std::move(found.begin(), found.end(), std::back_inserter(waiting));
  return {};
}

bool CancellationTable::Prune(int64_t before_unix_ms, int rows) {
  prune_.Bind(1, before_unix_ms);
  prune_.Bind(2, rows);
  return prune_.Run();
}

}  // namespace postbus::sqlite
