// queue/kafka/status_store.h - a copy of the last status records in a file, found by email id. It can be deleted at any
// time: it is read from the topic again. Several processes may use one file.
//
// Write and NextOffsets by one thread, the others by any.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "event/status.h"
#include "queue/sqlite/database.h"
#include "queue/status_record.h"

namespace postbus::kafka {

struct StoredStatus {
  static constexpr int32_t kOwn = -1;
  int32_t partition = kOwn;  // kOwn: this process accepted the email; one such record an email
  int64_t offset = 0;
  std::string id;
  int64_t at_unix_ms = 0;
  std::string record;
  std::vector<uint64_t> recipient_hashes = {};
};

class StatusStore {
 public:
  // The newest so many are kept, about 1 GiB, and none longer than the topic keeps it (7 d).
  static constexpr int64_t kMaxRecords = 2'000'000;

  // Creates the file (0600) where there is none.
  static Result<std::unique_ptr<StatusStore>> Open(const std::string& path);

  // All, or none and why. A record that is there already is replaced.
  Status Write(std::span<const StoredStatus> records);
  // Of each partition of which there are records: the offset behind the last one.
  Result<std::map<int32_t, int64_t>> NextOffsets();

  // The ids of emails to this recipient, each once, `limit` at most: the last of which something was told first.
  Result<std::vector<std::string>> IdsTo(uint64_t recipient_hash, size_t limit);
  // kNotFound: none is known.
  Result<std::vector<StatusRecord>> Find(std::string_view id);

 private:
  StatusStore() = default;
  Status Prepare(const std::string& path);
  bool WriteAll(std::span<const StoredStatus> records);

  sqlite::Database writing_;
  sqlite::Statement insert_, insert_own_, insert_recipient_, prune_, prune_recipients_;

  std::mutex mutex_;  // guards the rest
  sqlite::Database reading_;
  sqlite::Statement find_, find_ids_to_;
};

}  // namespace postbus::kafka
