#include "event/clock.h"

#include <ctime>

namespace postbus {
namespace {

int64_t ReadMs(clockid_t clock) {
  timespec now{};
  clock_gettime(clock, &now);
  return int64_t{now.tv_sec} * 1000 + now.tv_nsec / 1'000'000;
}

}  // namespace

int64_t BootTimeMs() { return ReadMs(CLOCK_BOOTTIME); }
int64_t UnixTimeMs() { return ReadMs(CLOCK_REALTIME); }

}  // namespace postbus
