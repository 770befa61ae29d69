// event/clock.h - the two clocks postbus uses; milliseconds are rounded down. Thread-safe.
#pragma once

#include <cstdint>

namespace postbus {

// CLOCK_BOOTTIME: for waits and leases. Never steps, and goes on while the machine sleeps, so a lease
// cannot outlive a suspend.
int64_t BootTimeMs();
int64_t BootTimeNs();

// CLOCK_REALTIME: for what is written down (due times, records).
int64_t UnixTimeMs();
int64_t UnixTimeNs();

}  // namespace postbus
