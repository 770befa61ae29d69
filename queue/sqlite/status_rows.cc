#include "queue/sqlite/status_rows.h"

#include <algorithm>

namespace postbus::sqlite {

bool InsertStatusRecipients(Statement& insert, std::span<const uint64_t> hashes) {
  return std::all_of(hashes.begin(), hashes.end(), [&](uint64_t hash) {
    insert.Bind(1, static_cast<int64_t>(hash));
    return insert.Run();
  });
}

Result<std::vector<std::string>> ReadIdsTo(const Database& database, Statement& find, uint64_t hash, size_t limit) {
  std::vector<std::string> ids;
  find.Bind(1, static_cast<int64_t>(hash));
  int step = SQLITE_DONE;
  while (ids.size() < limit && (step = find.Step()) == SQLITE_ROW) {
    const std::string_view id = find.Bytes(0);
    if (std::find(ids.begin(), ids.end(), id) == ids.end()) ids.emplace_back(id);
  }
  Status failure = step == SQLITE_ROW || step == SQLITE_DONE ? Status() : database.Failure();
  find.Reset();
  if (!failure.ok()) return failure;
  return ids;
}

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
