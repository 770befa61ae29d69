// host/generation.h - one generation of the configuration: what a shard does mails by, and the transports it gives them
// to. A reload makes the next one; transports that are the same in both live on.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "event/address.h"
#include "event/status.h"
#include "host/config.h"
#include "host/plugin_set.h"
#include "host/rate_limiter.h"
#include "host/recipient_policy.h"
#include "host/renderer.h"
#include "host/route.h"
#include "host/transport.h"

namespace postbus {

// One instance of a transport plugin, and who of the shards waits until it is writable. Thread-safe as Transport is;
// made, quiesced and destroyed on the control thread.
class TransportInstance final : public TransportSink {
 public:
  // `shards` is told of permits and completions, and that somebody is to look at TakeWritable. It outlives the
  // instance.
  static Result<std::shared_ptr<TransportInstance>> Create(const TransportConfig& config, const TransportParts& parts,
                                                           TransportSink& shards, size_t n_shards, const QueueLog& log);

  Transport& transport() { return *transport_; }
  RateLimiter& limiter() { return limiter_; }
  // TransportParts::Fingerprint of what it was made of.
  const std::string& fingerprint() const { return fingerprint_; }

  // It became writable since this shard asked last. [shard]
  bool TakeWritable(size_t shard) { return writable_[shard].exchange(false, std::memory_order_acq_rel); }

  // Nothing more will be submitted. Called again it does nothing.
  void Quiesce(int64_t deadline_boot_ms);

 private:
  TransportInstance(TransportSink& shards, size_t n_shards) : shards_(shards), writable_(n_shards) {}

  void PermitSend(std::span<const uint64_t> tokens, std::span<uint8_t> verdicts) override {
    shards_.PermitSend(tokens, verdicts);
  }
  void Complete(uint64_t token, const postbus_result& result) override { shards_.Complete(token, result); }
  void Writable() override;

  TransportSink& shards_;
  RateLimiter limiter_;
  std::vector<std::atomic<bool>> writable_;  // by shard
  std::string fingerprint_;
  bool quiesced_ = false;
  std::unique_ptr<Transport> transport_;  // the last: it calls the others until it is gone
};

// Immutable; thread-safe. Jobs hold on to the one they were made ready by. The last reference is dropped on the control
// thread (Generations in worker.cc), since that destroys what only this generation has.
struct Generation {
  uint64_t number = 0;  // from 1
  Config config;
  Router router;
  RecipientPolicy recipients;
  std::optional<Mailbox> default_from;
  std::shared_ptr<const Renderer> renderer;
  std::vector<std::shared_ptr<TransportInstance>> transports;  // as in config.transports

  bool Has(const TransportInstance* instance) const;
};

// The generation after `previous` (nullptr: the first). Nothing changes on failure; the error names the place in the
// configuration.
Result<std::shared_ptr<const Generation>> MakeGeneration(Config config, std::shared_ptr<const Renderer> renderer,
                                                         const Generation* previous, TransportSink& shards,
                                                         const QueueLog& log);

// The keys in which `next` differs from `current` though they can be set at a start only; "" or `queue.kafka.topic,
// host.threads`.
std::string KeysThatNeedRestart(const Config& current, const Config& next);

}  // namespace postbus
