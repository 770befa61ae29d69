#include "host/worker.h"

#include <algorithm>
#include <thread>

#include "event/clock.h"
#include "host/plugin_set.h"
#include "host/route.h"
#include "host/shard.h"

namespace postbus {
namespace {

using Shards = std::vector<std::unique_ptr<Shard>>;

// One transport's calls into the host: finds the shard by the token.
class Port final : public TransportSink {
 public:
  Port(size_t transport, const Shards& shards) : transport_(transport), shards_(shards) {}

  void PermitSend(std::span<const uint64_t> tokens, std::span<uint8_t> verdicts) override {
    const int64_t now = BootTimeMs();
    for (size_t i = 0; i < tokens.size(); ++i) {
      Shard* shard = Find(tokens[i]);
      verdicts[i] = shard != nullptr && shard->MaySend(tokens[i], now) ? POSTBUS_GO : POSTBUS_ABORT;
    }
  }

  void Complete(uint64_t token, const postbus_result& result) override {
    if (Shard* shard = Find(token); shard != nullptr) shard->OnComplete(token, result);
  }

  void Writable() override {
    for (const auto& shard : shards_) shard->OnWritable(transport_);
  }

 private:
  Shard* Find(uint64_t token) const {
    const size_t index = Shard::ShardOf(token);
    return index < shards_.size() ? shards_[index].get() : nullptr;
  }

  const size_t transport_;
  const Shards& shards_;
};

constexpr int64_t kQueueStopMs = 5'000;  // of the drain time, kept for flush and commit
constexpr auto kPollInterval = std::chrono::milliseconds(5);

}  // namespace

// Destroyed from the last member to the first: transports before the ports and shards they talk to.
struct Worker::Impl {
  Queue* queue = nullptr;
  Log* log = nullptr;
  std::unique_ptr<Router> router;
  Shards shards;
  std::vector<std::unique_ptr<Port>> ports;
  std::vector<std::unique_ptr<Transport>> transports;
  bool drained = false;
};

Worker::Worker() : impl_(std::make_unique<Impl>()) {}

Worker::~Worker() {
  if (impl_ == nullptr) return;
  if (!impl_->drained) Drain(BootTimeMs());
  // An instance that still has mails must not be destroyed: the process is about to end, so it is left alone.
  for (auto& transport : impl_->transports) {
    if (transport->outstanding() != 0) {
      impl_->log->Write(LogLevel::kError, "transport " + transport->name() + " still has mails; not destroyed");
      [[maybe_unused]] auto* leaked = impl_.release();
      return;
    }
  }
}

Result<std::unique_ptr<Worker>> Worker::Start(const Config& config, Queue& queue, const Renderer& renderer,
                                              Metrics& metrics, Log& log) {
  std::unique_ptr<Worker> worker(new Worker());
  Impl& impl = *worker->impl_;
  impl.queue = &queue;
  impl.log = &log;
  impl.router = std::make_unique<Router>(config);
  const ShardContext context{
      .config = config, .renderer = renderer, .router = *impl.router, .metrics = metrics, .log = log};
  for (size_t i = 0; i < static_cast<size_t>(config.host.threads); ++i) {
    impl.shards.push_back(std::make_unique<Shard>(i, context));
  }
  for (size_t i = 0; i < config.transports.size(); ++i) impl.ports.push_back(std::make_unique<Port>(i, impl.shards));
  auto transports = LoadTransports(
      config, [&](size_t i) -> TransportSink& { return *impl.ports[i]; }, log.Named("transport"));
  if (!transports.ok()) return transports.TakeStatus();
  impl.transports = std::move(*transports);

  std::vector<int> wake_fds;
  for (const auto& shard : impl.shards) wake_fds.push_back(shard->wake_fd());
  if (Status status = queue.StartConsuming(wake_fds); !status.ok()) return status;
  for (size_t i = 0; i < impl.shards.size(); ++i) impl.shards[i]->Start(queue.shard(i), impl.transports);
  return worker;
}

const std::vector<std::unique_ptr<Transport>>& Worker::transports() const { return impl_->transports; }

bool Worker::Drain(int64_t deadline_boot_ms) {
  impl_->drained = true;
  impl_->queue->StopConsuming();
  for (auto& shard : impl_->shards) shard->Drain();
  const int64_t now = BootTimeMs();
  const int64_t mails_until = std::max(now, deadline_boot_ms - std::min(kQueueStopMs, (deadline_boot_ms - now) / 2));
  for (auto& transport : impl_->transports) transport->Quiesce(mails_until);
  const auto all_idle = [&] {
    // A transport that has completed its last mail may need a moment more until it says so.
    return std::all_of(impl_->shards.begin(), impl_->shards.end(), [](const auto& shard) { return shard->idle(); }) &&
           std::all_of(impl_->transports.begin(), impl_->transports.end(),
                       [](const auto& transport) { return transport->outstanding() == 0; });
  };
  // A transport completes what is left at its deadline; a moment more for those completions to be settled.
  constexpr int64_t kSettleMs = 500;
  while (!all_idle() && BootTimeMs() < mails_until + kSettleMs) std::this_thread::sleep_for(kPollInterval);
  const bool finished = all_idle();
  for (auto& shard : impl_->shards) shard->Stop();
  const bool flushed = impl_->queue->Stop(std::max(deadline_boot_ms, BootTimeMs() + 1));
  return finished && flushed;
}

}  // namespace postbus
