// host/breaker.h - whether a transport is worth handing mails to. Closed: all of them. Open: none, for a while. Half
// open: the one mail that tries it again is under way. Pure logic over the times it is given. Not thread-safe; one a
// shard.
//
// It opens on a PROVIDER_FAULT, which says of itself that every mail would fare so, or when `failures` different mails
// in a row did not get to their point of no return. Nothing that a server says of one mail, good or bad, opens it: one
// unknown mailbox must not stop a transport.
#pragma once

#include <cstdint>

#include "host/config.h"

namespace postbus {

class Breaker {
 public:
  enum class State : uint8_t { kClosed, kHalfOpen, kOpen };

  explicit Breaker(const BreakerConfig& config) : config_(config) {}

  // Other limits from now on; the state stays.
  void Configure(const BreakerConfig& config) { config_ = config; }

  State state() const { return state_; }
  // Mails may be handed over; one alone when not closed.
  bool Allows(int64_t now_ms) const {
    return state_ == State::kClosed || (state_ == State::kOpen && now_ms >= probe_at_ms_);
  }
  // When it allows a mail again. REQUIRES: state() == kOpen.
  int64_t probe_at_ms() const { return probe_at_ms_; }

  // A mail was handed over though it is not closed: it is the probe. REQUIRES: Allows().
  void BeginProbe() { state_ = State::kHalfOpen; }
  // The probe was taken back without a word about the provider: another mail may try at once.
  void EndProbe(int64_t now_ms);

  // What became of a mail: the outcome of an attempt (postbus/abi/outcome.h). `first`: the mail's first one in this
  // turn. True: the state changed in a way worth telling (closed to open, or to closed).
  bool Note(int32_t outcome, bool first, int64_t now_ms);

 private:
  void Open(int64_t now_ms);

  BreakerConfig config_;
  State state_ = State::kClosed;
  int not_sent_ = 0;  // different mails in a row
  int opened_ = 0;    // times in a row
  int64_t probe_at_ms_ = 0;
};

}  // namespace postbus
