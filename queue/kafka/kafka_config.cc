#include "queue/kafka/kafka_config.h"

#include <array>

namespace postbus::kafka {
namespace {

struct RefusedKey {
  std::string_view name;
  std::string_view why;
};

constexpr std::string_view kProgress = "postbus commits by itself what is done, and only that";
constexpr std::string_view kDurable = "an accepted event must be on all in-sync replicas, once";
constexpr std::string_view kMembership = "postbus sets it; rebalances and send permits count on it";
constexpr std::string_view kOwnKey = "it has a key of its own under queue.kafka";
constexpr std::string_view kReading = "records would be skipped, or taken unchecked";

constexpr std::array kRefused = {
    RefusedKey{"bootstrap.servers", kOwnKey},
    RefusedKey{"metadata.broker.list", kOwnKey},
    RefusedKey{"group.id", kOwnKey},
    RefusedKey{"group.instance.id", kMembership},
    RefusedKey{"session.timeout.ms", kMembership},
    RefusedKey{"heartbeat.interval.ms", kMembership},
    RefusedKey{"max.poll.interval.ms", kMembership},
    RefusedKey{"partition.assignment.strategy", kMembership},
    RefusedKey{"enable.auto.commit", kProgress},
    RefusedKey{"auto.commit.enable", kProgress},
    RefusedKey{"auto.commit.interval.ms", kProgress},
    RefusedKey{"enable.auto.offset.store", kProgress},
    RefusedKey{"offset.store.method", kProgress},
    RefusedKey{"auto.offset.reset", kReading},
    RefusedKey{"isolation.level", kReading},
    RefusedKey{"check.crcs", kReading},
    RefusedKey{"enable.partition.eof", kReading},
    RefusedKey{"allow.auto.create.topics", "topics are made by `postbus topics create`"},
    RefusedKey{"acks", kDurable},
    RefusedKey{"request.required.acks", kDurable},
    RefusedKey{"enable.idempotence", kDurable},
    RefusedKey{"enable.gapless.guarantee", kDurable},
    RefusedKey{"transactional.id", kDurable},
    RefusedKey{"retries", kDurable},
    RefusedKey{"message.send.max.retries", kDurable},
    RefusedKey{"message.timeout.ms", kDurable},
    RefusedKey{"delivery.timeout.ms", kDurable},
    RefusedKey{"delivery.report.only.error", kDurable},
    RefusedKey{"produce.offset.report", kDurable},
    RefusedKey{"message.max.bytes", kDurable},
    RefusedKey{"partitioner", "cancellations must meet their events: murmur2 of the email id everywhere"},
};

void ToQueueLog(const rd_kafka_t* client, int level, const char* facility, const char* text) {
  // An unreachable broker is LOG_ERR to librdkafka and a warning to us: it goes on trying. CONFWARN says that consumers
  // ignore what is passed on for producers, and the reverse.
  const bool warns = level <= 4 && facility != std::string_view("CONFWARN");
  const auto* context = static_cast<const ClientContext*>(rd_kafka_opaque(client));
  (*context->log)(warns ? LogLevel::kWarning : LogLevel::kDebug, std::string("librdkafka ") + facility + ": " + text);
}

}  // namespace

Status CheckPassedOn(const KafkaConfig& config) {
  for (const auto& [name, value] : config.librdkafka) {
    for (const RefusedKey& key : kRefused) {
      if (name != key.name) continue;
      return Status::Invalid("queue.kafka.librdkafka: \"" + name + "\" may not be set here: " + std::string(key.why));
    }
  }
  return {};
}

Properties ConsumerProperties(const std::string& group_id, const std::string& instance_id, FetchSettings fetch) {
  return {
      {"group.id", group_id},
      {"group.instance.id", instance_id},
      {"session.timeout.ms", std::to_string(kSessionTimeoutMs)},
      // A member hears of a rebalance by its next heartbeat, and all wait for the last one to hear of it.
      {"heartbeat.interval.ms", "1000"},
      // Eager on purpose: the cooperative protocol of 2.0.2 loses an assignment when a commit meets a rebalance.
      {"partition.assignment.strategy", "range"},
      {"enable.auto.commit", "false"},
      {"enable.auto.offset.store", "false"},
      {"auto.offset.reset", "error"},
      {"isolation.level", "read_committed"},
      {"check.crcs", "true"},
      {"allow.auto.create.topics", "false"},
      {"socket.timeout.ms", "10000"},  // a commit without an answer is given up when the session would be over, too
      {"fetch.wait.max.ms", std::to_string(fetch.wait_ms)},
      {"fetch.message.max.bytes", std::to_string(fetch.fetch_kib * 1024)},
      {"queued.max.messages.kbytes", std::to_string(fetch.queue_kib)},
      {"socket.nagle.disable", "true"},
  };
}

Properties ProducerProperties(ProducerKind kind) {
  return {
      {"enable.idempotence", "true"},
      {"acks", "all"},
      {"partitioner", "murmur2_random"},  // Java's: murmur2 of the key, any partition for a record without one
      {"linger.ms", kind == ProducerKind::kStatus ? "50" : "0"},
      {"message.max.bytes", std::to_string(kMaxRecordBytes)},
      {"message.timeout.ms", kind == ProducerKind::kCopies ? "0" : "120000"},
      {"queue.buffering.max.kbytes", "131072"},
      {"socket.nagle.disable", "true"},
  };
}

Result<ConfPtr> MakeConf(const KafkaConfig& config, const Properties& ours, ClientContext* context) {
  ConfPtr conf(rd_kafka_conf_new());
  char error[512];
  const auto set = [&](const char* name, const std::string& value) {
    return rd_kafka_conf_set(conf.get(), name, value.c_str(), error, sizeof error);
  };
  if (set("bootstrap.servers", config.brokers) != RD_KAFKA_CONF_OK) {
    return Status::Invalid("queue.kafka.brokers: \"" + config.brokers + "\" is not a list of host:port");
  }
  for (const auto& [name, value] : ours) {
    if (set(name, value) != RD_KAFKA_CONF_OK) return Status::Internal(std::string("librdkafka: ") + error);
  }
  for (const auto& [name, value] : config.librdkafka) {
    switch (set(name.c_str(), value)) {
      case RD_KAFKA_CONF_OK:
        break;
      case RD_KAFKA_CONF_UNKNOWN:
        return Status::Invalid("queue.kafka.librdkafka: \"" + name + "\" is not a property of librdkafka " +
                               rd_kafka_version_str());
      default:
        return Status::Invalid("queue.kafka.librdkafka: \"" + name + "\" does not take that value");
    }
  }
  rd_kafka_conf_set_opaque(conf.get(), context);
  rd_kafka_conf_set_log_cb(conf.get(), ToQueueLog);
  return conf;
}

Result<rd_kafka_t*> NewClient(rd_kafka_type_t type, ConfPtr conf) {
  char error[512];
  rd_kafka_t* client = rd_kafka_new(type, conf.get(), error, sizeof error);
  if (client == nullptr) return Status::Invalid(std::string("queue.kafka: librdkafka refuses the settings: ") + error);
  static_cast<void>(conf.release());  // the client has it
  return client;
}

}  // namespace postbus::kafka
