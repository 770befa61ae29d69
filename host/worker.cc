#include "host/worker.h"

#include <algorithm>
#include <thread>
#include <utility>
#include <vector>

#include "event/clock.h"
#include "host/quarantine.h"
#include "host/recipient_hash.h"
#include "host/shard.h"
#include "host/ticker.h"
#include "host/watchdog.h"

namespace postbus {
namespace {

using Shards = std::vector<std::unique_ptr<Shard>>;

// The transports' calls into the host: finds the shard by the token.
class ShardSink final : public TransportSink {
 public:
  explicit ShardSink(const Shards& shards) : shards_(shards) {}

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
    for (const auto& shard : shards_) shard->Wake();
  }

 private:
  Shard* Find(uint64_t token) const {
    const size_t index = Shard::ShardOf(token);
    return index < shards_.size() ? shards_[index].get() : nullptr;
  }

  const Shards& shards_;
};

constexpr int64_t kQueueStopMs = 5'000;  // of the drain time, kept for flush and commit
constexpr auto kPollInterval = std::chrono::milliseconds(5);
constexpr int64_t kAdoptWithinMs = 2'000;  // a shard may be in the middle of rendering

}  // namespace

// Destroyed from the last member to the first: transports before the sink and shards they talk to.
struct Worker::Impl {
  Queue* queue = nullptr;
  Log* log = nullptr;
  Pauses no_pauses;
  Quarantine quarantine;
  Shards shards;
  ShardSink sink{shards};
  std::shared_ptr<const Generation> current;
  std::vector<std::shared_ptr<const Generation>> retired;  // oldest first
  std::unique_ptr<Watchdog> watchdog;
  std::unique_ptr<Ticker> watching;  // the last: it uses shards and watchdog
  bool drained = false;

  bool AllShardsUseCurrent() const {
    return std::all_of(shards.begin(), shards.end(),
                       [&](const auto& shard) { return shard->generation() == current->number; });
  }

  template <typename Visit>
  void ForEachTransport(Visit visit) const {
    for (const auto& generation : retired) {
      for (const auto& instance : generation->transports) visit(*instance);
    }
    for (const auto& instance : current->transports) visit(*instance);
  }

  // Nobody uses this former generation, nor what it alone has.
  bool IsOver(const std::shared_ptr<const Generation>& generation) const {
    return generation.use_count() == 1 &&
           std::all_of(generation->transports.begin(), generation->transports.end(), [&](const auto& instance) {
             return current->Has(instance.get()) || instance->transport().outstanding() == 0;
           });
  }
};

Worker::Worker() : impl_(std::make_unique<Impl>()) {}

Worker::~Worker() {
  if (impl_ == nullptr || impl_->current == nullptr) return;
  if (!impl_->drained) Drain(BootTimeMs());
  // An instance that still has mails must not be destroyed: the process is about to end, so it is left alone.
  bool all_idle = true;
  impl_->ForEachTransport([&](TransportInstance& instance) {
    if (instance.transport().outstanding() == 0) return;
    impl_->log->Write(LogLevel::kError, "transport " + instance.transport().name() + " still has mails; not destroyed");
    all_idle = false;
  });
  if (all_idle) return;
  [[maybe_unused]] auto* leaked = impl_.release();
}

Result<std::unique_ptr<Worker>> Worker::Start(Config config, std::shared_ptr<const Renderer> renderer, Queue& queue,
                                              Metrics& metrics, Log& log, Pauses* pauses) {
  std::unique_ptr<Worker> worker(new Worker());
  Impl& impl = *worker->impl_;
  impl.queue = &queue;
  impl.log = &log;
  const ShardContext context{.host = config.host,
                             .limits = config.limits,
                             .recipient_key = RecipientKey(config.queue),
                             .pauses = pauses != nullptr ? *pauses : impl.no_pauses,
                             .quarantine = impl.quarantine,
                             .cancellations = queue.cancellations(),
                             .metrics = metrics,
                             .log = log};
  for (size_t i = 0; i < static_cast<size_t>(config.host.threads); ++i) {
    impl.shards.push_back(std::make_unique<Shard>(i, context));
  }
  auto first = MakeGeneration(std::move(config), std::move(renderer), nullptr, impl.sink, log.Named("transport"));
  if (!first.ok()) return first.TakeStatus();

  std::vector<int> wake_fds;
  for (const auto& shard : impl.shards) wake_fds.push_back(shard->wake_fd());
  if (Status status = queue.StartConsuming(wake_fds); !status.ok()) return status;
  impl.current = std::move(*first);
  for (size_t i = 0; i < impl.shards.size(); ++i) impl.shards[i]->Start(queue.shard(i), impl.current);
  const int64_t silent_ms = context.host.watchdog.silent_ms;
  impl.watchdog = std::make_unique<Watchdog>(silent_ms, metrics, log);
  impl.watching =
      std::make_unique<Ticker>(std::chrono::milliseconds(std::min<int64_t>(silent_ms / 10, 1'000)), [&impl] {
        std::vector<Pulse> pulses;
        for (const auto& shard : impl.shards) pulses.push_back(shard->pulse());
        impl.watchdog->Look(pulses, BootTimeMs());
      });
  return worker;
}

Status Worker::Health() const { return impl_->watchdog->Health(); }

const Generation& Worker::generation() const { return *impl_->current; }

Status Worker::Reload(Config config, std::shared_ptr<const Renderer> renderer) {
  Impl& impl = *impl_;
  auto next = MakeGeneration(std::move(config), std::move(renderer), impl.current.get(), impl.sink,
                             impl.log->Named("transport"));
  if (!next.ok()) return next.TakeStatus();
  impl.retired.push_back(std::exchange(impl.current, std::move(*next)));
  for (const auto& shard : impl.shards) shard->Adopt(impl.current);
  // Who is told that the reload is done shall see it in the next mail.
  const int64_t until = BootTimeMs() + kAdoptWithinMs;
  while (!impl.AllShardsUseCurrent() && BootTimeMs() < until) std::this_thread::sleep_for(kPollInterval);
  return {};
}

bool Worker::Tend() {
  Impl& impl = *impl_;
  // As long as a shard goes by a former generation it may submit to that one's transports.
  if (impl.retired.empty() || !impl.AllShardsUseCurrent()) return !impl.retired.empty();
  const int64_t deadline = BootTimeMs() + impl.current->config.host.drain_timeout_ms;
  impl.ForEachTransport([&](TransportInstance& instance) {
    if (!impl.current->Has(&instance)) instance.Quiesce(deadline);
  });
  std::erase_if(impl.retired, [&](const auto& generation) { return impl.IsOver(generation); });
  return !impl.retired.empty();
}

bool Worker::Drain(int64_t deadline_boot_ms) {
  impl_->drained = true;
  impl_->queue->StopConsuming();
  for (auto& shard : impl_->shards) shard->Drain();
  const int64_t now = BootTimeMs();
  const int64_t mails_until = std::max(now, deadline_boot_ms - std::min(kQueueStopMs, (deadline_boot_ms - now) / 2));
  impl_->ForEachTransport([&](TransportInstance& instance) { instance.Quiesce(mails_until); });
  const auto all_idle = [&] {
    // A transport that has completed its last mail may need a moment more until it says so.
    bool all = std::all_of(impl_->shards.begin(), impl_->shards.end(), [](const auto& shard) { return shard->idle(); });
    impl_->ForEachTransport([&](TransportInstance& instance) { all = all && instance.transport().outstanding() == 0; });
    return all;
  };
  // A transport completes what is left at its deadline; a moment more for those completions to be settled.
  constexpr int64_t kSettleMs = 500;
  while (!all_idle() && BootTimeMs() < mails_until + kSettleMs) std::this_thread::sleep_for(kPollInterval);
  const bool finished = all_idle();
  impl_->watching.reset();
  for (auto& shard : impl_->shards) shard->Stop();
  const bool flushed = impl_->queue->Stop(std::max(deadline_boot_ms, BootTimeMs() + 1));
  return finished && flushed;
}

}  // namespace postbus
