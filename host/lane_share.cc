#include "host/lane_share.h"

#include <algorithm>

namespace postbus {
namespace {

constexpr double kPatienceSeconds = 10;  // a share that is worked off within this stops nobody for long
constexpr int64_t kMeasureMs = 1'000;
constexpr size_t kPartOfShareThatIsMuch = 8;
constexpr double kSoonestMs = 30'000;
constexpr double kLatestMs = 600'000;  // where nothing says how long it takes

}  // namespace

void LaneShare::Refresh(int64_t now_ms) {
  if (mails_ >= most_) {
    full_since_ms_ = std::min(full_since_ms_, now_ms);
  } else if (mails_ < most_ / 4 * 3) {
    full_since_ms_ = INT64_MAX;
  }
  if (mails_ <= most_ / kPartOfShareThatIsMuch) {
    silent_since_ms_ = INT64_MAX;
  } else if (completions_ != completions_seen_ || silent_since_ms_ == INT64_MAX) {
    silent_since_ms_ = now_ms;
  }
  is_silent_ = silent_since_ms_ <= now_ms - kMeasureMs;
  completions_seen_ = completions_;
  const int64_t passed = now_ms - measured_ms_;
  if (passed < kMeasureMs) return;
  const double seen = static_cast<double>(completions_ - completions_measured_) * 1000 / static_cast<double>(passed);
  per_second_ = measured_ms_ == 0 ? seen : (per_second_ + seen) / 2;
  completions_measured_ = completions_;
  measured_ms_ = now_ms;
}

// A rate that was seen before the share was full may be that at which mails came. None at all, while there were many,
// is the transport's.
bool LaneShare::IsMeasured() const { return is_silent_ || full_since_ms_ <= measured_ms_ - kMeasureMs; }

bool LaneShare::IsStuffed(Priority priority) const {
  const size_t most = priority == Priority::kHigh ? most_ + most_ / 6 : most_;
  return mails_ >= most && IsMeasured() && static_cast<double>(mails_) > per_second_ * kPatienceSeconds;
}

int64_t LaneShare::PutOffUntil(double per_second, int64_t now_ms) {
  const auto now = static_cast<double>(now_ms);
  const bool known = per_second > 0;
  // In half a minute as many come again as there is room for, should it have recovered by then.
  if (!known) per_second = std::max(per_second_, static_cast<double>(most_) * 1000 / kSoonestMs);
  next_ms_ = std::max(next_ms_, now + (known ? static_cast<double>(mails_) * 1000 / per_second : kSoonestMs));
  const double slot = next_ms_;
  next_ms_ += 1000 / per_second;
  if (!known && slot > now + kLatestMs) next_ms_ = now + kSoonestMs;  // round again
  return static_cast<int64_t>(slot);
}

}  // namespace postbus
