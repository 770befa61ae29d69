// queue/kafka/rdkafka_handles.h - librdkafka's objects with an owner: each handle ends its object as the library wants
// it. Only for queue/kafka/ and its tests.
#pragma once

#include <librdkafka/rdkafka.h>

#include <memory>

namespace postbus::kafka {

template <auto kDestroy>
struct DestroyWith {
  template <typename T>
  void operator()(T* object) const {
    kDestroy(object);
  }
};

using ConfPtr = std::unique_ptr<rd_kafka_conf_t, DestroyWith<rd_kafka_conf_destroy>>;
using QueuePtr = std::unique_ptr<rd_kafka_queue_t, DestroyWith<rd_kafka_queue_destroy>>;
using EventPtr = std::unique_ptr<rd_kafka_event_t, DestroyWith<rd_kafka_event_destroy>>;
using MessagePtr = std::unique_ptr<rd_kafka_message_t, DestroyWith<rd_kafka_message_destroy>>;
using OffsetListPtr =
    std::unique_ptr<rd_kafka_topic_partition_list_t, DestroyWith<rd_kafka_topic_partition_list_destroy>>;
using TopicPtr = std::unique_ptr<rd_kafka_topic_t, DestroyWith<rd_kafka_topic_destroy>>;
// A client without consumer group: rd_kafka_destroy waits for its threads.
using ClientPtr = std::unique_ptr<rd_kafka_t, DestroyWith<rd_kafka_destroy>>;

}  // namespace postbus::kafka
