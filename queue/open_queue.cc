#include "queue/kafka/kafka_queue.h"
#include "queue/queue.h"
#include "queue/sqlite/sqlite_queue.h"

namespace postbus {

Result<std::unique_ptr<Queue>> OpenQueue(const QueueConfig& config, Role role, QueueLog log) {
  switch (config.type) {
    case QueueConfig::Type::kKafka:
      return kafka::OpenKafkaQueue(config, role, std::move(log));
    case QueueConfig::Type::kSqlite:
      return sqlite::OpenSqliteQueue(config, role, std::move(log));
  }
  return Status::Internal("unknown queue type");
}

}  // namespace postbus
