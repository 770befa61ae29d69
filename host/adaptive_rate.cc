#include "host/adaptive_rate.h"

#include <algorithm>

namespace postbus {
namespace {

constexpr int64_t kOneObjectionMs = 1'000;  // what was on its way when it objected says nothing new
constexpr double kDecrease = 0.5;
constexpr double kIncreaseASecond = 0.05;  // of the whole
constexpr double kLeast = 0.01;            // of the whole
constexpr double kLeastPerSecond = 0.1;    // so that it is tried again at all
constexpr double kWholeWithoutLimit = 2;   // times the rate that was too fast

}  // namespace

double AdaptiveRate::At(int64_t now_ms) {
  if (reduced_ == 0) return configured_;
  const int64_t since_ms = std::max<int64_t>(0, now_ms - since_ms_);  // the caller may have no time yet
  const double rate = reduced_ + whole_ * kIncreaseASecond * static_cast<double>(since_ms) / 1000;
  if (rate < whole_) return rate;
  reduced_ = 0;
  return configured_;
}

void AdaptiveRate::OnThrottled(double sent_per_second, int64_t now_ms) {
  double rate = At(now_ms);
  if (reduced_ != 0 && now_ms - since_ms_ < kOneObjectionMs) return;
  if (rate == kNoLimit) {
    rate = std::max(sent_per_second, 1.0);
    whole_ = rate * kWholeWithoutLimit;
  } else if (configured_ != kNoLimit) {
    whole_ = configured_;
  }
  reduced_ = std::max({rate * kDecrease, whole_ * kLeast, kLeastPerSecond});
  reduced_ = std::min(reduced_, whole_);
  since_ms_ = now_ms;
}

}  // namespace postbus
