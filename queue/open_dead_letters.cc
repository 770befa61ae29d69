#include "queue/dead_letters.h"
#include "queue/kafka/kafka_dead_letters.h"
#include "queue/sqlite/sqlite_dead_letters.h"

namespace postbus {

Result<std::unique_ptr<DeadLetters>> OpenDeadLetters(const QueueConfig& config, QueueLog log) {
  switch (config.type) {
    case QueueConfig::Type::kKafka:
      if (config.kafka_enabled == KafkaEnabled::kFalse) {
        return Status::Invalid(
            "KAFKA_ENABLED=false, but queue.type is kafka: unset the variable to see its dead letters");
      }
      return kafka::OpenKafkaDeadLetters(config.kafka, std::move(log));
    case QueueConfig::Type::kSqlite:
      return sqlite::OpenSqliteDeadLetters(config.sqlite);
  }
  return Status::Internal("unknown queue type");
}

}  // namespace postbus
