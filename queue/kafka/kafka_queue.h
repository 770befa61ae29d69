// queue/kafka/kafka_queue.h - the queue on Apache Kafka: a consumer group shares the work.
#pragma once

#include "queue/queue.h"

namespace postbus::kafka {

Result<std::unique_ptr<Queue>> OpenKafkaQueue(const QueueConfig& config, Role role, QueueLog log);

}  // namespace postbus::kafka
