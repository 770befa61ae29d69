#include "queue/kafka/kafka_queue.h"
#include "queue/queue.h"
#include "queue/sqlite/sqlite_queue.h"

namespace postbus {

Result<std::unique_ptr<Queue>> OpenQueue(const QueueConfig& config, Role role, QueueLog log) {
  switch (config.type) {
    case QueueConfig::Type::kKafka:
      if (config.kafka_enabled == KafkaEnabled::kFalse) {
        return Status::Invalid(
            "KAFKA_ENABLED=false, but queue.type is kafka: unset the variable, or set `queue: { type: sqlite }`; "
            "without a queue only services that link postbus::direct send");
      }
      return kafka::OpenKafkaQueue(config, role, std::move(log));
    case QueueConfig::Type::kSqlite:
      return sqlite::OpenSqliteQueue(config, role, std::move(log));
  }
  return Status::Internal("unknown queue type");
}

}  // namespace postbus
