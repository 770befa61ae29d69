// host/adaptive_rate.h - the rate a transport is given, found as TCP finds it: halved while the peer says "too fast",
// then more by a twentieth of the whole each second, until it is as configured again. Pure logic over the times it is
// given. Not thread-safe.
#pragma once

#include <cstdint>

namespace postbus {

class AdaptiveRate {
 public:
  static constexpr double kNoLimit = 0;

  // Mails a second; kNoLimit: as fast as it goes, until the peer objects.
  explicit AdaptiveRate(double configured) : configured_(configured) {}

  // Mails a second from now on, or kNoLimit.
  double At(int64_t now_ms);
  // The peer said "too fast" when so many mails a second went to it. Several within a second are one.
  void OnThrottled(double sent_per_second, int64_t now_ms);

 private:
  double configured_;
  double whole_ = 0;    // what it recovers to
  double reduced_ = 0;  // at since_ms_; 0 = not reduced
  int64_t since_ms_ = 0;
};

}  // namespace postbus
