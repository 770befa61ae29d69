// Preloaded before libfaketime. It changes what timespec_get says and not how long C11's cnd_timedwait waits, which
// counts from that: librdkafka would wait for the hour the clock was set forth. So this clock stays true; those that
// tell the time of day (clock_gettime, gettimeofday, time) are still faketime's.
#define _GNU_SOURCE
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int timespec_get(struct timespec* now, int base) {
  return base == TIME_UTC && syscall(SYS_clock_gettime, CLOCK_REALTIME, now) == 0 ? base : 0;
}
