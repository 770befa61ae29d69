// event/clock.h - the two clocks postbus uses. Thread-safe.
#pragma once

#include <cstdint>

namespace postbus {

// CLOCK_BOOTTIME in milliseconds: for waits and leases. Never steps, and goes on while the machine sleeps, so a lease
// cannot outlive a suspend.
int64_t BootTimeMs();

// CLOCK_REALTIME in milliseconds: for what is written down (due times, records).
int64_t UnixTimeMs();

}  // namespace postbus
