#include "postbus/direct.h"

#include <dlfcn.h>

#include <filesystem>

#include "event/clock.h"
#include "host/config_load.h"
#include "host/log.h"
#include "host/metrics.h"
#include "host/plugin_set.h"
#include "host/worker.h"
#include "postbus/producer.h"
#include "producer/direct/memory_queue.h"
#include "producer/local_queue.h"
#include "producer/new_event.h"

namespace postbus {
namespace {

constexpr size_t kMaxQueued = 10'000;
constexpr int64_t kGiveUpAfterMs = 5'000;
constexpr int64_t kStopWithinMs = 10'000;

// A Sender on a Queue of ours. The Queue must have been stopped when it ends.
class QueueSender : public Sender {
 public:
  bool Flush(std::chrono::milliseconds within) override { return local_.WaitUntilEmpty(within); }

 protected:
  virtual Queue& queue() = 0;

 private:
  Status Take(const Event& event, Done done) override {
    const size_t bytes = event.json.size();
    if (Status status = local_.Enter(bytes); !status.ok()) return status;
    Status taken = queue().Publish(ToNewEvent(event), [this, bytes, done = std::move(done)](const Status& status) {
      if (done) done(status);
      local_.Leave(bytes);
    });
    if (!taken.ok()) local_.Leave(bytes);
    return taken;
  }

  LocalQueue local_{kMaxQueued};
};

// Into the SQLite file of the configuration.
class SqliteSender final : public QueueSender {
 public:
  explicit SqliteSender(const LogConfig& config) : log_(config) {}
  ~SqliteSender() override {
    if (queue_ != nullptr) queue_->Stop(BootTimeMs() + kStopWithinMs);
  }

  Status Open(const QueueConfig& config) {
    auto opened = OpenQueue(config, Role::kProducer, log_.Named("queue"));
    if (!opened.ok()) return opened.TakeStatus();
    queue_ = std::move(*opened);
    return {};
  }

 private:
  Queue& queue() override { return *queue_; }

  Log log_;
  std::unique_ptr<Queue> queue_;
};

// The host's pipeline in this process.
class DirectSender final : public QueueSender {
 public:
  explicit DirectSender(Config config) : config_(std::move(config)), log_(config_.log) {
    // Whoever sends waits for the answer and can send again, so nothing is put off for long.
    config_.host.threads = 1;
    config_.retry.max_retries = 0;
    config_.retry.max_retries_limit = 0;
    config_.retry.max_age_ms = kGiveUpAfterMs;
  }
  ~DirectSender() override {
    if (worker_ != nullptr) worker_->Drain(BootTimeMs() + kStopWithinMs);
  }

  Status Start() {
    auto renderer = LoadRenderer(config_, log_.Named("renderer"));
    if (!renderer.ok()) return renderer.TakeStatus();
    auto worker = Worker::Start(config_, std::move(*renderer), queue_, metrics_, log_);
    if (!worker.ok()) return worker.TakeStatus();
    worker_ = std::move(*worker);
    return {};
  }

 private:
  Queue& queue() override { return queue_; }

  Config config_;
  Log log_;
  Metrics metrics_;
  MemoryQueue queue_;
  std::unique_ptr<Worker> worker_;
};

// The plugins that came with this library lie beside it: <lib>/postbus/plugins installed, <lib>/../plugins where it was
// built. The executable, by which the host finds them, is somebody else's.
void AddPluginDirectories(Config& config) {
  Dl_info info{};
  if (dladdr(reinterpret_cast<const void*>(&OpenSender), &info) == 0 || info.dli_fname == nullptr) return;
  std::error_code error;
  const auto library = std::filesystem::canonical(info.dli_fname, error).parent_path();
  if (error) return;
  config.plugin_directories.push_back(library / "postbus" / "plugins");
  config.plugin_directories.push_back(library.parent_path() / "plugins");
}

Result<std::unique_ptr<Sender>> StartDirect(Config config) {
  AddPluginDirectories(config);
  auto sender = std::make_unique<DirectSender>(std::move(config));
  if (Status status = sender->Start(); !status.ok()) return status;
  return std::unique_ptr<Sender>(std::move(sender));
}

void LogWay(const Config& config, std::string_view way) {
  Log log(config.log);
  LogLine(log, LogLevel::kInfo, "mails go")
      .Add("to", way)
      .Add("config", config.file)
      .Add("KAFKA_ENABLED", KafkaEnabledName(config.queue.kafka_enabled));
}

}  // namespace

Result<std::unique_ptr<Sender>> OpenDirectSender(const std::string& config_file) {
  auto config = LoadConfig(config_file);
  if (!config.ok()) return config.TakeStatus();
  return StartDirect(std::move(*config));
}

Result<std::unique_ptr<Sender>> OpenSender(const std::string& config_file) {
  auto config = LoadConfig(config_file);
  if (!config.ok()) return config.TakeStatus();
  const QueueConfig& queue = config->queue;
  if (queue.kafka_enabled == KafkaEnabled::kFalse) {
    LogWay(*config, "the transports, directly");
    return StartDirect(std::move(*config));
  }
  if (queue.type == QueueConfig::Type::kSqlite) {
    LogWay(*config, "the SQLite queue");
    auto sender = std::make_unique<SqliteSender>(config->log);
    if (Status status = sender->Open(queue); !status.ok()) return status;
    return std::unique_ptr<Sender>(std::move(sender));
  }
  LogWay(*config, "Kafka");
  auto producer = Producer::Open(
      {.brokers = queue.kafka.brokers, .topic = queue.kafka.topic, .librdkafka = queue.kafka.librdkafka});
  if (!producer.ok()) return producer.TakeStatus();
  return std::unique_ptr<Sender>(std::move(*producer));
}

}  // namespace postbus
