// queue/kafka/log_reader.h - reads partitions it names itself, each from an offset on, with a client of its own: it
// joins no group, commits nothing and is in nobody's way.
//
// One thread at a time.
#pragma once

#include <memory>
#include <string>
#include <utility>

#include "event/status.h"
#include "queue/kafka/kafka_config.h"
#include "queue/kafka/rdkafka_handles.h"
#include "queue/queue.h"

namespace postbus::kafka {

class LogReader {
 public:
  struct Settings {
    int queue_kib = 1024;     // read ahead
    int fetch_wait_ms = 100;  // a fetch that finds nothing is answered then
  };
  // `purpose`: part of the name by which librdkafka and the brokers' logs know it. `log` outlives it.
  static Result<std::unique_ptr<LogReader>> Open(const KafkaConfig& config, const std::string& purpose,
                                                 Settings settings, const QueueLog& log);
  ~LogReader();
  LogReader(const LogReader&) = delete;
  LogReader& operator=(const LogReader&) = delete;

  // kNotFound: there is no such topic. kUnavailable: no answer within `wait_ms`, or the topic cannot be read.
  Result<int> PartitionCount(const std::string& topic, int wait_ms);
  // Begins anew with these partitions and offsets; null: with none.
  Status Assign(const rd_kafka_topic_partition_list_t* partitions);
  // The next record, the end of a partition (`err` is RD_KAFKA_RESP_ERR__PARTITION_EOF) or an error, which passes and
  // which librdkafka logs; null: nothing within this time.
  MessagePtr Next(int wait_ms) { return MessagePtr(rd_kafka_consumer_poll(client_.get(), wait_ms)); }

  // The error that says so, and where.
  Status Unanswered(const std::string& reason) const;

  // To ask for offsets.
  rd_kafka_t* client() { return client_.get(); }

 private:
  LogReader(std::string brokers, const QueueLog& log) : brokers_(std::move(brokers)), context_{&log, nullptr} {}

  const std::string brokers_;
  ClientContext context_;
  ClientPtr client_;
};

}  // namespace postbus::kafka
