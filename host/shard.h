// host/shard.h - one thread of the pipeline: takes events from its part of the queue, decodes, renders, composes and
// submits them, and settles what comes back. docs/life-of-an-email.md tells the whole way.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "host/config.h"
#include "host/generation.h"
#include "host/log.h"
#include "host/metrics.h"
#include "host/pauses.h"
#include "host/quarantine.h"
#include "host/watchdog.h"
#include "queue/cancellations.h"
#include "queue/queue.h"

namespace postbus {

// What all shards share, whatever the generation. What it refers to outlives the shards.
struct ShardContext {
  HostConfig host;
  EventLimits limits;
  std::string recipient_key;  // RecipientKey
  Pauses& pauses;
  Quarantine& quarantine;
  const Cancellations& cancellations;
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

  // Starts the thread. `queue` outlives it; so does somebody else's reference to each generation that a job was given
  // (Worker), since the last one must be dropped on the control thread.
  void Start(ShardQueue& queue, std::shared_ptr<const Generation> generation);

  // From its next round on mails go by `generation`; what transports have under way is not touched. [control thread]
  void Adopt(std::shared_ptr<const Generation> generation);
  // The number of the one it goes by; nothing is submitted to transports that only former ones have. [any thread]
  uint64_t generation() const;

  // Takes nothing more from the queue; hands back what no transport has. [any thread]
  void Drain();
  // How it is. [any thread]
  Pulse pulse() const;
  // No turn is under way. [any thread]
  bool idle() const;
  // Ends the thread; turns still under way are left as they are. [control thread]
  void Stop();

  // The shard a token belongs to. [any thread]
  static size_t ShardOf(uint64_t token) { return token >> 56; }

  // What transports tell of this shard's tokens. [any thread, never blocks for long]
  bool MaySend(uint64_t token, int64_t now_boot_ms);
  void OnComplete(uint64_t token, const postbus_result& result);
  void Wake();

 private:
  class Impl;
  const std::unique_ptr<Impl> impl_;
};

}  // namespace postbus
