#include "event/clock.h"

#include <ctime>

namespace postbus {
namespace {

constexpr int64_t kNsPerMs = 1'000'000;

int64_t ReadNs(clockid_t clock) {
  timespec now{};
  clock_gettime(clock, &now);
  return int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

}  // namespace

int64_t BootTimeMs() { return BootTimeNs() / kNsPerMs; }
int64_t BootTimeNs() { return ReadNs(CLOCK_BOOTTIME); }
int64_t UnixTimeMs() { return UnixTimeNs() / kNsPerMs; }
int64_t UnixTimeNs() { return ReadNs(CLOCK_REALTIME); }

}  // namespace postbus
