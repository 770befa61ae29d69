// queue/kafka/counters.h - what the parts of one KafkaQueue count for QueueStats. Written from any thread.
#pragma once

#include <atomic>
#include <cstdint>

namespace postbus::kafka {

struct Counters {
  using Counter = std::atomic<uint64_t>;

  Counter published = 0;
  Counter publish_failures = 0;
  Counter consumed = 0;
  Counter completed = 0;
  Counter deferred = 0;
  Counter dead_lettered = 0;
  Counter commits = 0;
  Counter commit_failures = 0;
  Counter offset_maps_ignored = 0;
  Counter rebalances = 0;
};

// A counter carries no other data, so no order is needed.
inline void Count(Counters::Counter& counter, uint64_t by = 1) { counter.fetch_add(by, std::memory_order_relaxed); }

}  // namespace postbus::kafka
