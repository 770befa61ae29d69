// queue/sqlite/status_rows.h - what the two tables of status records have in common: reading one, and finding a
// recipient's emails. One thread at a time per connection.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "event/status.h"
#include "queue/sqlite/database.h"
#include "queue/status_record.h"

namespace postbus::sqlite {

// Beside a table `status`: which of its rows are about which recipient. A postbus that does not know it leaves rows out
// of it and does no harm.
inline constexpr const char* kCreateStatusRecipients = R"sql(
CREATE TABLE IF NOT EXISTS status_recipients (
  seq INTEGER NOT NULL, hash INTEGER NOT NULL, PRIMARY KEY (seq, hash)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS status_recipients_hash ON status_recipients (hash, seq);
)sql";
// About the row of `status` that was inserted last; this table, having no rowids, changes nothing about which that is.
inline constexpr const char* kInsertStatusRecipient =
    "INSERT OR IGNORE INTO status_recipients (seq, hash) VALUES (last_insert_rowid(), ?1)";
// After the oldest rows of `status` were deleted. Once it is empty its numbers begin anew.
inline constexpr const char* kPruneStatusRecipients =
    "DELETE FROM status_recipients WHERE seq < coalesce((SELECT min(seq) FROM status), 9223372036854775807)";
inline constexpr const char* kFindIdsTo =
    "SELECT id FROM status_recipients JOIN status USING (seq) WHERE hash = ?1 ORDER BY seq DESC";

// Runs kInsertStatusRecipient for each.
bool InsertStatusRecipients(Statement& insert, std::span<const uint64_t> hashes);

// The ids that kFindIdsTo finds, each once, `limit` at most.
Result<std::vector<std::string>> ReadIdsTo(const Database& database, Statement& find, uint64_t hash, size_t limit);

// The records of an email. `find` selects them, one a row, by the id that is its first parameter; it is left reset.
// kNotFound: there is none.
Result<std::vector<StatusRecord>> ReadStatusRecords(const Database& database, Statement& find, std::string_view id);

}  // namespace postbus::sqlite
