#include "queue/sqlite/status_rows.h"

namespace postbus::sqlite {

Result<std::vector<StatusRecord>> ReadStatusRecords(const Database& database, Statement& find, std::string_view id) {
  std::vector<StatusRecord> records;
  find.BindText(1, id);
  int step = find.Step();
  for (; step == SQLITE_ROW; step = find.Step()) {
    Result<StatusRecord> record = DecodeStatus(find.Bytes(0));
    if (record.ok()) records.push_back(std::move(*record));  // else a newer postbus wrote it
  }
  Status failure = step == SQLITE_DONE ? Status() : database.Failure();
  find.Reset();
  if (!failure.ok()) return failure;
  if (records.empty()) return Status::NotFound("no email with this id is known");
  return records;
}

}  // namespace postbus::sqlite
