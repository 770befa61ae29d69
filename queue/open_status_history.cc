#include "queue/kafka/status_follower.h"
#include "queue/sqlite/status_table.h"
#include "queue/status_history.h"

namespace postbus {

Result<std::unique_ptr<StatusHistory>> OpenStatusHistory(const QueueConfig& config, QueueLog log) {
  switch (config.type) {
    case QueueConfig::Type::kKafka:
      return kafka::FollowStatus(config, std::move(log));
    case QueueConfig::Type::kSqlite:
      return sqlite::OpenStatusTable(config);
  }
  return Status::Internal("unknown queue type");
}

}  // namespace postbus
