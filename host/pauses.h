// host/pauses.h - which transports the operator has paused, and until when. Kept in a file, so that a restart changes
// nothing. Thread-safe.
//
// The file: a line `version MAJOR.MINOR` (a file without it is of before there were versions), then a line
// `UNTIL NAME` for each. What a minor version adds are lines that do not begin with a digit: others keep them as they
// are.
#pragma once

#include <atomic>
#include <cstdint>
#include <limits>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "event/status.h"

namespace postbus {

// One transport's: read by the shards for each mail, hence without a lock.
class Pause {
 public:
  bool Holds(int64_t now_unix_ms) const { return now_unix_ms < until_unix_ms_.load(std::memory_order_acquire); }
  int64_t until_unix_ms() const { return until_unix_ms_.load(std::memory_order_acquire); }

 private:
  friend class Pauses;
  std::atomic<int64_t> until_unix_ms_{0};
};

class Pauses {
 public:
  static constexpr int64_t kNoEnd = std::numeric_limits<int64_t>::max();

  // Remembers nothing.
  Pauses() = default;
  // Of an earlier process, in `file`; from now on it is kept there. The error names the file.
  static Result<std::unique_ptr<Pauses>> Open(std::string file);

  // The pause of a transport; valid as long as this object.
  const Pause& Of(std::string_view transport);

  // Until then (kNoEnd: until resumed), or not any more (0). kNotFound: nobody has asked for a transport of that name.
  // kUnavailable: it holds now, but could not be written.
  Status Set(std::string_view transport, int64_t until_unix_ms);

 private:
  Status Write() const;

  std::mutex mutex_;
  std::string file_;  // "" = none
  std::string kept_;  // lines of a newer minor version
  int minor_ = 0;     // of who wrote them
  struct Entry {
    Pause pause;
    bool known = false;  // by the running configuration, not by the file alone
  };
  std::map<std::string, Entry, std::less<>> entries_;  // guarded by mutex_; entries stay where they are
};

}  // namespace postbus
