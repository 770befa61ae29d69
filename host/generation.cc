#include "host/generation.h"

#include <algorithm>
#include <utility>

namespace postbus {

Result<std::shared_ptr<TransportInstance>> TransportInstance::Create(const TransportConfig& config,
                                                                     const TransportParts& parts, TransportSink& shards,
                                                                     size_t n_shards, const QueueLog& log) {
  std::shared_ptr<TransportInstance> instance(new TransportInstance(shards, n_shards));
  instance->fingerprint_ = parts.Fingerprint();
  auto transport = MakeTransport(config, parts, *instance, log);
  if (!transport.ok()) return transport.TakeStatus();
  instance->transport_ = std::move(*transport);
  return instance;
}

void TransportInstance::Quiesce(int64_t deadline_boot_ms) {
  if (!std::exchange(quiesced_, true)) transport_->Quiesce(deadline_boot_ms);
}

void TransportInstance::Writable() {
  for (std::atomic<bool>& writable : writable_) writable.store(true, std::memory_order_release);
  shards_.Writable();
}

bool Generation::Has(const TransportInstance* instance) const {
  return std::any_of(transports.begin(), transports.end(), [&](const auto& each) { return each.get() == instance; });
}

Result<std::shared_ptr<const Generation>> MakeGeneration(Config config, std::shared_ptr<const Renderer> renderer,
                                                         const Generation* previous, TransportSink& shards,
                                                         const QueueLog& log) {
  std::vector<std::shared_ptr<TransportInstance>> transports;
  for (const TransportConfig& transport : config.transports) {
    auto parts = LoadTransportParts(config, transport);
    if (!parts.ok()) return parts.TakeStatus();
    const auto is_same = [&](const auto& instance) {
      return instance->transport().name() == transport.name && instance->fingerprint() == parts->Fingerprint();
    };
    if (previous != nullptr) {
      const auto same = std::find_if(previous->transports.begin(), previous->transports.end(), is_same);
      if (same != previous->transports.end()) {
        transports.push_back(*same);
        continue;
      }
    }
    auto made = TransportInstance::Create(transport, *parts, shards, static_cast<size_t>(config.host.threads), log);
    if (!made.ok()) return made.TakeStatus();
    transports.push_back(std::move(*made));
  }
  std::optional<Mailbox> default_from;
  if (auto mailbox = ParseMailbox(config.defaults_from); mailbox.ok()) default_from = std::move(*mailbox);
  Router router(config);
  RecipientPolicy recipients(config.recipients);
  return std::make_shared<const Generation>(Generation{.number = previous == nullptr ? 1 : previous->number + 1,
                                                       .config = std::move(config),
                                                       .router = std::move(router),
                                                       .recipients = std::move(recipients),
                                                       .default_from = std::move(default_from),
                                                       .renderer = std::move(renderer),
                                                       .transports = std::move(transports)});
}

std::string KeysThatNeedRestart(const Config& current, const Config& next) {
  std::string keys;
  const auto compare = [&keys](const char* key, bool same) {
    if (!same) keys += (keys.empty() ? "" : ", ") + std::string(key);
  };
  const auto& [was, is] = std::pair<const QueueConfig&, const QueueConfig&>(current.queue, next.queue);
  compare("queue.type", was.type == is.type);
  compare("queue.kafka.brokers", was.kafka.brokers == is.kafka.brokers);
  compare("queue.kafka.topic", was.kafka.topic == is.kafka.topic);
  compare("queue.kafka.prefix", was.kafka.prefix == is.kafka.prefix);
  compare("queue.kafka.group_id", was.kafka.group_id == is.kafka.group_id);
  compare("queue.kafka.librdkafka", was.kafka.librdkafka == is.kafka.librdkafka);
  compare("queue.sqlite.path", was.sqlite.path == is.sqlite.path);
  compare("queue.recipient_key", was.recipient_key == is.recipient_key);
  compare("retry.in_doubt", current.retry.in_doubt == next.retry.in_doubt);
  compare("state_dir", was.state_dir == is.state_dir);
  compare("host.threads", current.host.threads == next.host.threads);
  compare("host.max_in_flight", current.host.max_in_flight == next.host.max_in_flight);
  compare("limits.max_event", current.limits.max_bytes == next.limits.max_bytes);
  const auto listens_alike = [](const ListenConfig& a, const ListenConfig& b) {
    return a.address == b.address && a.port == b.port;
  };
  compare("api.listen", listens_alike(current.api, next.api));
  compare("admin.listen", listens_alike(current.admin, next.admin));
  compare("log.level", current.log.level == next.log.level);
  compare("log.format", current.log.format == next.log.format);
  return keys;
}

}  // namespace postbus
