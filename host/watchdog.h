// host/watchdog.h - names what does not go on: a shard that makes no more rounds, and what it is busy with; a transport
// that owes an answer for longer than any mail may take. Nothing is ended by it: the others go on, and whoever watches
// /readyz restarts the host.
#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "event/status.h"
#include "host/log.h"
#include "host/metrics.h"

namespace postbus {

// What a shard says of itself.
struct Pulse {
  int64_t round_boot_ms = 0;               // when its last round began
  std::string busy_with;                   // "transport primary", "renderer", or "": nothing of a plugin's
  std::vector<std::string> owe_an_answer;  // "transport primary"
};

// Thread-safe.
class Watchdog {
 public:
  Watchdog(int64_t silent_ms, Metrics& metrics, Log& log) : silent_ms_(silent_ms), metrics_(metrics), log_(log) {}

  // Judges the shards' pulses; logs what is new, and what goes on again.
  void Look(const std::vector<Pulse>& pulses, int64_t now_boot_ms);
  // Names all that does not go on.
  Status Health() const;

 private:
  const int64_t silent_ms_;
  Metrics& metrics_;
  Log& log_;
  mutable std::mutex mutex_;
  std::set<std::string> stuck_;  // guarded by mutex_
};

}  // namespace postbus
