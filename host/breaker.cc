#include "host/breaker.h"

#include <algorithm>

#include "postbus/abi/outcome.h"

namespace postbus {
namespace {

// A fault may be over in a moment: it is tried again soon, then less and less often.
constexpr int64_t kFirstPauseMs = 1'000;
constexpr int kMostDoublings = 20;

}  // namespace

void Breaker::Open(int64_t now_ms) {
  state_ = State::kOpen;
  probe_at_ms_ = now_ms + std::min(config_.probe_after_ms, kFirstPauseMs << std::min(opened_, kMostDoublings));
  ++opened_;
  not_sent_ = 0;
}

void Breaker::EndProbe(int64_t now_ms) {
  if (state_ != State::kHalfOpen) return;
  state_ = State::kOpen;
  probe_at_ms_ = now_ms;
}

bool Breaker::Note(int32_t outcome, bool first, int64_t now_ms) {
  switch (outcome) {
    case POSTBUS_PROVIDER_FAULT:
      if (state_ == State::kOpen) return false;  // one of those that were on their way
      Open(now_ms);
      return opened_ == 1;
    case POSTBUS_NOT_SENT:
      if (state_ == State::kHalfOpen) {
        Open(now_ms);
        return false;
      }
      if (state_ == State::kOpen || !first || ++not_sent_ < config_.failures) return false;
      Open(now_ms);
      return opened_ == 1;
    case POSTBUS_IN_DOUBT:  // it got past the point of no return, and no word came
      if (state_ == State::kHalfOpen) Open(now_ms);
      return false;
    default:
      break;
  }
  not_sent_ = opened_ = 0;
  if (state_ == State::kClosed) return false;
  state_ = State::kClosed;
  return true;
}

}  // namespace postbus
