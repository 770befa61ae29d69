// host/lane.h - the transports of a generation as one shard sees them: what waits for each, how much it has, and
// whether it takes more. Not thread-safe; one `Lanes` a shard.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "host/breaker.h"
#include "host/generation.h"
#include "host/held_mails.h"
#include "host/lane_share.h"
#include "host/metrics.h"
#include "host/pauses.h"
#include "host/rate_limiter.h"
#include "host/ready_queue.h"
#include "host/transport.h"

namespace postbus {

// What waits is named by its job's slot.
struct Lane {
  Lane(const BreakerConfig& config, size_t share_of_window) : breaker(config), share(share_of_window) {}

  // It is worth handing mails to.
  bool Takes(int64_t now_boot_ms) const;
  // It takes none at the moment.
  bool IsBlocked(int64_t now_boot_ms) const;
  // Empties its queues.
  template <typename Visit>
  void DrainQueues(Visit visit) {
    ready.Drain(visit);
    claimed.Drain(visit);
    held.Drain(visit);
  }

  TransportInstance* instance = nullptr;  // kept by the shard's generation, else by the jobs that are with it
  Transport* transport = nullptr;         // of the instance
  RateLimiter* limiter = nullptr;         // of the instance
  Metrics::TransportCounters counters;
  const Pause* pause = nullptr;
  bool paused = false;  // when it was looked at last
  bool owes_an_answer = false;
  ReadyQueue ready;
  ReadyQueue claimed;          // at most once: of them, those whose claim is durable
  size_t claims_asked = 0;     // likewise, for those in neither
  size_t with_transport = 0;   // mails it was given and has not answered
  HeldMails held;              // those that wait for a slot of a domain
  bool full = false;           // took fewer than offered; until Writable
  bool full_for_high = false;  // and a high one was the first it did not take
  Breaker breaker;
  LaneShare share;
};

class Lanes {
 public:
  // `window`: how many mails the shard has room for. The others outlive it.
  Lanes(size_t window, Pauses& pauses, Metrics& metrics) : window_(window), pauses_(pauses), metrics_(metrics) {}

  // From now on they are those of `next`, in its order. A transport both have keeps its lane, with queues emptied; one
  // that only the former had is kept aside until it has answered everything it has.
  void Use(const Generation& next);
  // Forgets those of former transports that have answered.
  void EndRetired();

  Lane& operator[](size_t index) const { return *lanes_[index]; }
  auto begin() const { return lanes_.begin(); }
  auto end() const { return lanes_.end(); }

  // A transport has its share of the window, and how fast it is gets measured: see LaneShare.
  bool AnyIsUndecided() const;
  // Composed mails whose transport has not taken them. Those of one that cannot, while there are others, do not count.
  size_t ReadyAhead(int64_t now_boot_ms) const;

 private:
  const size_t window_;
  Pauses& pauses_;
  Metrics& metrics_;
  std::vector<std::unique_ptr<Lane>> lanes_;
  std::vector<std::unique_ptr<Lane>> retired_;
};

}  // namespace postbus
