// librdkafka 2.0.2 waits with C11's cnd_timedwait, until a time of the wall clock. When that is set back by an hour, as
// after a wrong clock was put right, its threads wait for the hour, and a host stands still with them. Whoever links
// this has a cnd_timedwait of its own, which is found before that of the C library: it waits as long, by
// CLOCK_MONOTONIC.
#include <pthread.h>
#include <threads.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <ctime>

namespace {

constexpr int64_t kNsPerSecond = 1'000'000'000;
// Nobody here waits longer: the clock was set back after the caller had looked at it.
constexpr int64_t kLongestNs = 60 * kNsPerSecond;
constexpr int64_t kInsteadNs = kNsPerSecond / 10;

int64_t Nanoseconds(const timespec& time) { return int64_t{time.tv_sec} * kNsPerSecond + time.tv_nsec; }

// They are these in the C library, too (glibc, nptl/cnd_timedwait.c).
static_assert(sizeof(cnd_t) == sizeof(pthread_cond_t) && alignof(cnd_t) == alignof(pthread_cond_t));
static_assert(sizeof(mtx_t) == sizeof(pthread_mutex_t) && alignof(mtx_t) == alignof(pthread_mutex_t));

}  // namespace

extern "C" int cnd_timedwait(cnd_t* condition, mtx_t* mutex, const timespec* until) {
  timespec wall{};
  timespec steady{};
  timespec_get(&wall, TIME_UTC);
  clock_gettime(CLOCK_MONOTONIC, &steady);
  const int64_t left = std::max<int64_t>(0, Nanoseconds(*until) - Nanoseconds(wall));
  const int64_t end = Nanoseconds(steady) + (left > kLongestNs ? kInsteadNs : left);
  const timespec deadline = {.tv_sec = end / kNsPerSecond, .tv_nsec = end % kNsPerSecond};
  switch (pthread_cond_clockwait(reinterpret_cast<pthread_cond_t*>(condition),
                                 reinterpret_cast<pthread_mutex_t*>(mutex), CLOCK_MONOTONIC, &deadline)) {
    case 0:
      return thrd_success;
    case ETIMEDOUT:
      return thrd_timedout;
    default:
      return thrd_error;
  }
}
