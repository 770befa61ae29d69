#include "postbus/producer.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include "producer/local_queue.h"
#include "producer/new_event.h"
#include "queue/kafka/outgoing.h"
#include "queue/kafka/record_producer.h"
#include "queue/kafka/topics.h"
#include "queue/queue_config.h"

namespace postbus {
namespace {

std::string EnvironmentOr(const char* name, const std::string& otherwise) {
  const char* value = std::getenv(name);
  return value == nullptr || *value == '\0' ? otherwise : value;
}

void ToStderr(std::string_view line) {
  std::fprintf(stderr, "postbus: %.*s\n", static_cast<int>(line.size()), line.data());
}

// Of events alone: a producer need not be allowed to see the others.
Status MakeTopics(const KafkaConfig& config, const kafka::TopicNames& names, const QueueLog& log) {
  std::vector<kafka::TopicSpec> topics = kafka::TopicTable(config);
  std::erase_if(topics, [&names](const kafka::TopicSpec& topic) {
    return std::find(names.events.begin(), names.events.end(), topic.name) == names.events.end();
  });
  std::vector<std::string> created;
  Status status = kafka::CreateTopics(config, topics, created);
  for (const std::string& topic : created) log(LogLevel::kInfo, "made the topic " + topic);
  if (status.ok() || status.kind() != ErrorKind::kUnavailable) return status;
  log(LogLevel::kWarning, std::string(status.message()) + "; mails wait in the local queue");
  return {};
}

}  // namespace

class Producer::Impl {
 public:
  Impl(const KafkaConfig& config, size_t max_queued) : names_(config), local_(max_queued) {}

  Status Open(const KafkaConfig& config, const QueueLog& log) {
    if (Status status = kafka::CheckPassedOn(config); !status.ok()) return status;
    if (Status status = MakeTopics(config, names_, log); !status.ok()) return status;
    auto opened = kafka::RecordProducer::Open(config, kafka::ProducerKind::kPublish,
                                              {names_.events.begin(), names_.events.end()}, log);
    if (!opened.ok()) return opened.TakeStatus();
    records_ = std::move(*opened);
    return {};
  }

  Status Take(const Event& event, Done done) {
    const size_t bytes = event.json.size();
    if (Status status = local_.Enter(bytes); !status.ok()) return status;
    // What the client cannot take at this moment is offered to it again.
    records_->ProduceDurably(kafka::EventRecord(names_, ToNewEvent(event)),
                             [this, bytes, done = std::move(done)](const Status& stored, const kafka::RecordBack&) {
                               if (done) done(stored);
                               local_.Leave(bytes);
                               return kafka::RecordProducer::After::kDone;
                             });
    return {};
  }

  LocalQueue& local() { return local_; }
  kafka::RecordProducer& records() { return *records_; }

 private:
  const kafka::TopicNames names_;
  LocalQueue local_;
  std::unique_ptr<kafka::RecordProducer> records_;  // ended first: its callbacks use the others
};

Producer::Producer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Producer::~Producer() = default;

Result<std::unique_ptr<Producer>> Producer::Open(ProducerOptions options) {
  if (!options.log) options.log = ToStderr;
  const QueueLog log = [write = std::move(options.log)](LogLevel level, std::string_view line) {
    if (level != LogLevel::kDebug) write(line);
  };
  KafkaConfig config;
  config.brokers = std::move(options.brokers);
  config.topic = std::move(options.topic);
  config.librdkafka = std::move(options.librdkafka);
  auto impl = std::make_unique<Impl>(config, options.max_queued);
  if (Status status = impl->Open(config, log); !status.ok()) return status;
  log(LogLevel::kInfo, "mails go to Kafka " + config.brokers + ", topic " + config.topic);
  return std::unique_ptr<Producer>(new Producer(std::move(impl)));
}

Result<std::unique_ptr<Producer>> Producer::FromEnv() {
  const char* const variable = std::getenv("KAFKA_ENABLED");
  const auto enabled = ParseKafkaEnabled(variable == nullptr ? "" : variable);
  if (!enabled.ok()) return Status::Invalid(std::string(enabled.status().message()));
  if (*enabled == KafkaEnabled::kFalse) {
    return Status::Invalid(
        "KAFKA_ENABLED=false: a Producer is for Kafka alone; OpenSender of postbus/direct.h (CMake target "
        "postbus::direct) sends directly then");
  }
  ProducerOptions options;
  options.brokers = EnvironmentOr("KAFKA_BROKERS", options.brokers);
  options.topic = EnvironmentOr("KAFKA_TOPIC", options.topic);
  return Open(std::move(options));
}

bool Producer::Flush(std::chrono::milliseconds within) { return impl_->local().WaitUntilEmpty(within); }

Status Producer::Health() const { return impl_->records().Health(); }

Status Producer::Take(const Event& event, Done done) { return impl_->Take(event, std::move(done)); }

}  // namespace postbus
