// host/shard.h - one thread of the pipeline: takes events from its part of the queue, decodes, renders, composes and
// submits them, and settles what comes back. docs/life-of-an-email.md tells the whole way.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "host/config.h"
#include "host/log.h"
#include "host/metrics.h"
#include "host/renderer.h"
#include "host/route.h"
#include "host/transport.h"
#include "queue/queue.h"

namespace postbus {

// What all shards share. Everything outlives the shards.
struct ShardContext {
  const Config& config;
  const Renderer& renderer;
  const Router& router;
  Metrics& metrics;
  Log& log;
};

class Shard {
 public:
  static constexpr size_t kMaxShards = 256;

  // REQUIRES: index < kMaxShards.
  Shard(size_t index, const ShardContext& context);
  ~Shard();  // REQUIRES: Stop was called, or Start was not
  Shard(const Shard&) = delete;
  Shard& operator=(const Shard&) = delete;

  // An eventfd: a write wakes the shard.
  int wake_fd() const;

  // Starts the thread. `queue` and `transports` outlive it.
  void Start(ShardQueue& queue, std::span<const std::unique_ptr<Transport>> transports);

  // Takes nothing more from the queue; hands back what no transport has. [any thread]
  void Drain();
  // No turn is under way. [any thread]
  bool idle() const;
  // Ends the thread; turns still under way are left as they are. [control thread]
  void Stop();

  // The shard a token belongs to. [any thread]
  static size_t ShardOf(uint64_t token) { return token >> 56; }

  // What transports tell of this shard's tokens. [any thread, never blocks for long]
  bool MaySend(uint64_t token, int64_t now_boot_ms);
  void OnComplete(uint64_t token, const postbus_result& result);
  void OnWritable(size_t transport);

 private:
  class Impl;
  const std::unique_ptr<Impl> impl_;
};

}  // namespace postbus
