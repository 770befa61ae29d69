// queue/sqlite/status_rows.h - reads status records out of a table. One thread at a time per connection.
#pragma once

#include <string_view>
#include <vector>

#include "event/status.h"
#include "queue/sqlite/database.h"
#include "queue/status_record.h"

namespace postbus::sqlite {

// The records of an email. `find` selects them, one a row, by the id that is its first parameter; it is left reset.
// kNotFound: there is none.
Result<std::vector<StatusRecord>> ReadStatusRecords(const Database& database, Statement& find, std::string_view id);

}  // namespace postbus::sqlite
