#include "host/watchdog.h"

#include <utility>

namespace postbus {

void Watchdog::Look(const std::vector<Pulse>& pulses, int64_t now_boot_ms) {
  std::set<std::string> stuck;
  for (size_t i = 0; i < pulses.size(); ++i) {
    const Pulse& pulse = pulses[i];
    if (now_boot_ms - pulse.round_boot_ms > silent_ms_) {
      stuck.insert(pulse.busy_with.empty() ? "shard " + std::to_string(i) : pulse.busy_with);
    }
    stuck.insert(pulse.owe_an_answer.begin(), pulse.owe_an_answer.end());
  }
  const std::lock_guard lock(mutex_);
  for (const std::string& what : stuck) {
    if (stuck_.contains(what)) continue;
    metrics_.SetStuck(what, true);
    LogLine(log_, LogLevel::kError, "does not go on; what does not need it is not held up. Restart this host")
        .Add("what", what);
  }
  for (const std::string& what : stuck_) {
    if (stuck.contains(what)) continue;
    metrics_.SetStuck(what, false);
    LogLine(log_, LogLevel::kInfo, "goes on again").Add("what", what);
  }
  stuck_ = std::move(stuck);
}

Status Watchdog::Health() const {
  const std::lock_guard lock(mutex_);
  if (stuck_.empty()) return {};
  std::string text = "does not go on:";
  for (const std::string& what : stuck_) text += (text.back() == ':' ? " " : ", ") + what;
  return Status::Unavailable(std::move(text));
}

}  // namespace postbus
