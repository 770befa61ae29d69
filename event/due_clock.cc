#include "event/due_clock.h"

#include <algorithm>
#include <cstdlib>

#include "event/clock.h"

namespace postbus {
namespace {

constexpr int64_t kUnseenMs = 5;  // readings are rounded, and not taken at quite the same time

DueClock::Reading ReadNow() {
  static DueClock clock(UnixTimeMs(), BootTimeMs());
  const int64_t boot_ms = BootTimeMs();
  return clock.Read(UnixTimeMs(), boot_ms);
}

}  // namespace

DueClock::Reading DueClock::Read(int64_t unix_ms, int64_t boot_ms) {
  const int64_t step_ms = unix_ms - (boot_ms + offset_ms_.load(std::memory_order_relaxed));
  if (std::abs(step_ms) > kUnseenMs || stepped_.load(std::memory_order_relaxed)) NoteStep(step_ms, unix_ms, boot_ms);
  const int64_t believed_ms = boot_ms + offset_ms_.load(std::memory_order_relaxed);
  return {.due_unix_ms = std::min(unix_ms, believed_ms), .now_unix_ms = believed_ms};
}

void DueClock::NoteStep(int64_t step_ms, int64_t unix_ms, int64_t boot_ms) {
  const std::lock_guard lock(mutex_);
  if (std::abs(step_ms) <= kUnseenMs) {
    stepped_.store(false, std::memory_order_relaxed);
  } else if (!stepped_.exchange(true, std::memory_order_relaxed) || std::abs(step_ms - stepped_by_ms_) > kUnseenMs) {
    stepped_at_boot_ms_ = boot_ms;  // another step makes it a new question
    stepped_by_ms_ = step_ms;
  } else if (boot_ms - stepped_at_boot_ms_ >= kBelievedAfterMs) {
    offset_ms_.store(unix_ms - boot_ms, std::memory_order_relaxed);
    stepped_.store(false, std::memory_order_relaxed);
  }
}

int64_t DueTimeMs() { return ReadNow().due_unix_ms; }
int64_t DelayedByMs(int64_t delay_ms) { return ReadNow().now_unix_ms + delay_ms; }

}  // namespace postbus
