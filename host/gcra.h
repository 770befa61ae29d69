// host/gcra.h - the generic cell rate algorithm (ITU-T I.371): so many mails a second on average, and no more than
// `burst` of them at once. One number of state; pure logic over the times it is given. Not thread-safe.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>

namespace postbus {

class Gcra {
 public:
  // REQUIRES: per_second > 0, burst >= 1.
  Gcra(double per_second, double burst) {
    SetRate(per_second, burst);
    next_ms_ = 0;  // a whole burst may go
  }

  // What holds from now on; the next mail may go when it might before.
  void SetRate(double per_second, double burst) {
    interval_ms_ = 1000 / per_second;
    const double tolerance_ms = (burst - 1) * interval_ms_;
    next_ms_ += tolerance_ms - tolerance_ms_;
    tolerance_ms_ = tolerance_ms;
  }

  // Of `wanted` mails so many may go now; their slots are taken.
  size_t Take(size_t wanted, int64_t now_ms) {
    if (now_ms < not_before_ms_) return 0;
    const auto now = static_cast<double>(now_ms);
    next_ms_ = std::max(next_ms_, now);
    const double room = now + tolerance_ms_ - next_ms_;
    if (room < 0) return 0;
    // The division may end just below a whole number.
    const size_t taken = std::min(wanted, static_cast<size_t>(std::floor(room / interval_ms_ + 1e-6)) + 1);
    next_ms_ += static_cast<double>(taken) * interval_ms_;
    return taken;
  }
  // So many of those just taken did not go.
  void GiveBack(size_t n) { next_ms_ -= static_cast<double>(n) * interval_ms_; }

  // When the next mail may go; in the past: now.
  int64_t FreeAtMs() const {
    return std::max(not_before_ms_, static_cast<int64_t>(std::ceil(next_ms_ - tolerance_ms_ - 1e-6)));
  }

  // Up to how much later than that costs nothing of the rate.
  int64_t slack_ms() const { return static_cast<int64_t>(tolerance_ms_); }

  // None goes before.
  void HoldUntil(int64_t ms) {
    not_before_ms_ = std::max(not_before_ms_, ms);
    next_ms_ = std::max(next_ms_, static_cast<double>(ms) + tolerance_ms_);
  }

 private:
  double interval_ms_ = 0;
  double tolerance_ms_ = 0;
  double next_ms_ = 0;  // the "theoretical arrival time" of the next mail
  int64_t not_before_ms_ = std::numeric_limits<int64_t>::min();
};

}  // namespace postbus
