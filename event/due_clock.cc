#include "event/due_clock.h"

#include <algorithm>
#include <cstdlib>

#include "event/clock.h"

namespace postbus {
namespace {

constexpr int64_t kNsPerMs = 1'000'000;
constexpr int64_t kUnseenNs = 5 * kNsPerMs;  // the two readings are not taken at quite the same time

struct Readings {
  int64_t unix_ns = 0;
  int64_t boot_ns = 0;
};

// Taken within a millisecond, if this thread gets to run for as long.
Readings ReadBoth() {
  Readings both;
  for (int tries = 0; tries < 3; ++tries) {
    const int64_t before_ns = BootTimeNs();
    both.unix_ns = UnixTimeNs();
    both.boot_ns = BootTimeNs();
    if (both.boot_ns - before_ns < kNsPerMs) break;
  }
  return both;
}

DueClock Begin() {
  const Readings both = ReadBoth();
  return DueClock(both.unix_ns, both.boot_ns);
}

DueClock::Reading ReadNow() {
  static DueClock clock = Begin();
  const Readings both = ReadBoth();
  return clock.Read(both.unix_ns, both.boot_ns);
}

}  // namespace

DueClock::Reading DueClock::Read(int64_t unix_ns, int64_t boot_ns) {
  const int64_t step_ns = unix_ns - (boot_ns + offset_ns_.load(std::memory_order_relaxed));
  if (std::abs(step_ns) > kUnseenNs || stepped_.load(std::memory_order_relaxed)) NoteStep(step_ns, unix_ns, boot_ns);
  const int64_t believed_ns = boot_ns + offset_ns_.load(std::memory_order_relaxed);
  return {.due_unix_ms = std::min(unix_ns, believed_ns) / kNsPerMs,
          .now_unix_ms = (believed_ns + kNsPerMs - 1) / kNsPerMs};
}

void DueClock::NoteStep(int64_t step_ns, int64_t unix_ns, int64_t boot_ns) {
  const std::lock_guard lock(mutex_);
  if (std::abs(step_ns) <= kUnseenNs) {
    stepped_.store(false, std::memory_order_relaxed);
  } else if (!stepped_.exchange(true, std::memory_order_relaxed) || std::abs(step_ns - stepped_by_ns_) > kUnseenNs) {
    stepped_at_boot_ns_ = boot_ns;  // another step makes it a new question
    stepped_by_ns_ = step_ns;
  } else if (boot_ns - stepped_at_boot_ns_ >= kBelievedAfterMs * kNsPerMs) {
    offset_ns_.store(unix_ns - boot_ns, std::memory_order_relaxed);
    stepped_.store(false, std::memory_order_relaxed);
  }
}

int64_t DueTimeMs() { return ReadNow().due_unix_ms; }
int64_t DelayedByMs(int64_t delay_ms) { return ReadNow().now_unix_ms + delay_ms; }

}  // namespace postbus
