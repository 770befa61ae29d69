// event/due_clock.h - the clock that due times are judged by: the wall clock without its steps, so that nothing comes
// early because somebody set the clock.
//
// It goes on from the wall clock as it was at the first reading. When the wall clock steps, either it was wrong before
// or it is wrong now, and which one cannot be told; so what is due must be due by both. A step that has lasted for
// kBelievedAfterMs is taken for the truth. Steps of a few milliseconds are not seen.
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>

namespace postbus {

// Thread-safe.
class DueClock {
 public:
  static constexpr int64_t kBelievedAfterMs = 15 * 60'000;

  // From readings of both clocks, the wall clock's taken first: however long it takes until the other one is read, this
  // clock is not ahead of the wall clock as it was.
  DueClock(int64_t unix_ns, int64_t boot_ns) : offset_ns_(unix_ns - boot_ns) {}

  struct Reading {
    int64_t due_unix_ms = 0;  // what is due by then is due
    int64_t now_unix_ms = 0;  // what a delay is to be counted from
  };
  // Likewise.
  Reading Read(int64_t unix_ns, int64_t boot_ns);

 private:
  void NoteStep(int64_t step_ns, int64_t unix_ns, int64_t boot_ns);

  std::atomic<int64_t> offset_ns_;  // of the believed wall clock to the boot clock
  std::atomic<bool> stepped_{false};

  std::mutex mutex_;  // guards the rest
  int64_t stepped_at_boot_ns_ = 0;
  int64_t stepped_by_ns_ = 0;
};

// Of this process.
int64_t DueTimeMs();                    // due_unix_ms
int64_t DelayedByMs(int64_t delay_ms);  // when what is to wait for so long from now is due

}  // namespace postbus
