// host/lane_share.h - how much of a shard's window one transport may fill. The mails that the window has room for are
// few; where one transport is slow, down or limited, its mails would fill all of it and stop the others'. A transport
// that has its share and, as a whole measure shows, does not work it off gets no more: further mails of it are put off,
// each to a slot at the rate at which the transport will have room. Pure logic over the times it is given. Not
// thread-safe; one a lane.
#pragma once

#include <cstddef>
#include <cstdint>

#include "event/email_event.h"

namespace postbus {

class LaneShare {
 public:
  explicit LaneShare(size_t most) : most_(most) {}
  void Configure(size_t most) { most_ = most; }

  // A mail came into the window for this transport; one left it again.
  void Enter() { ++mails_; }
  void Leave() { --mails_; }
  // The transport completed an attempt.
  void CountCompletion() { ++completions_; }
  // Several times a second.
  void Refresh(int64_t now_ms);

  size_t mails() const { return mails_; }
  // It has its share, and whether it needs long for it is not measured yet: a backlog fills the share in a moment.
  // Nothing more is to be let into the window until that is known, a second or two at most. Of one that has
  // completed nothing for a second, while it had an eighth of its share, it is known before.
  bool IsUndecided() const { return mails_ >= most_ && !IsMeasured(); }
  // It has its share, and needs long for it. For high mails the share is a little more.
  bool IsStuffed(Priority priority) const;
  // When a mail that found it so should come again. `per_second`: the rate that is known, 0 = what was seen.
  int64_t PutOffUntil(double per_second, int64_t now_ms);

 private:
  bool IsMeasured() const;

  size_t most_;
  size_t mails_ = 0;
  uint64_t completions_ = 0;
  uint64_t completions_seen_ = 0;      // when it was refreshed last
  uint64_t completions_measured_ = 0;  // when the last measure ended
  double per_second_ = 0;
  int64_t measured_ms_ = 0;
  int64_t full_since_ms_ = INT64_MAX;    // it has (nearly) its share
  int64_t silent_since_ms_ = INT64_MAX;  // it has a good part of it, and completes nothing
  bool is_silent_ = false;               // that long that it is not for want of time
  double next_ms_ = 0;                   // slot of the next mail that is put off
};

}  // namespace postbus
