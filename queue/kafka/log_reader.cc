#include "queue/kafka/log_reader.h"

namespace postbus::kafka {
namespace {

Properties ReaderProperties(const std::string& group_id, LogReader::Settings settings) {
  return {
      {"group.id", group_id},  // librdkafka wants one
      {"enable.auto.commit", "false"},
      {"enable.auto.offset.store", "false"},
      {"auto.offset.reset", "earliest"},  // what was to be read next is gone, or the topic is a new one
      {"isolation.level", "read_committed"},
      {"check.crcs", "true"},
      {"allow.auto.create.topics", "false"},
      {"enable.partition.eof", "true"},
      {"max.poll.interval.ms", "86400000"},  // who reads may be slow on purpose
      {"fetch.wait.max.ms", std::to_string(settings.fetch_wait_ms)},
      {"queued.max.messages.kbytes", std::to_string(settings.queue_kib)},
      {"socket.nagle.disable", "true"},
  };
}

}  // namespace

Result<std::unique_ptr<LogReader>> LogReader::Open(const KafkaConfig& config, const std::string& purpose,
                                                   Settings settings, const QueueLog& log) {
  std::unique_ptr<LogReader> reader(new LogReader(config.brokers, log));
  Result<ConfPtr> conf =
      MakeConf(config, ReaderProperties(config.group_id + "-" + purpose, settings), &reader->context_);
  if (!conf.ok()) return conf.TakeStatus();
  Result<rd_kafka_t*> client = NewClient(RD_KAFKA_CONSUMER, std::move(*conf));
  if (!client.ok()) return client.TakeStatus();
  reader->client_.reset(*client);
  rd_kafka_poll_set_consumer(*client);
  return reader;
}

LogReader::~LogReader() {
  if (client_) rd_kafka_consumer_close(client_.get());
}

Result<int> LogReader::PartitionCount(const std::string& topic, int wait_ms) {
  const TopicPtr handle(rd_kafka_topic_new(client_.get(), topic.c_str(), nullptr));
  const rd_kafka_metadata_t* metadata = nullptr;
  const rd_kafka_resp_err_t error = rd_kafka_metadata(client_.get(), 0, handle.get(), &metadata, wait_ms);
  if (error != RD_KAFKA_RESP_ERR_NO_ERROR) return Unanswered(rd_kafka_err2str(error));
  const bool known = metadata->topic_cnt == 1;
  const int count = known ? metadata->topics[0].partition_cnt : 0;
  const rd_kafka_resp_err_t reason = known ? metadata->topics[0].err : RD_KAFKA_RESP_ERR_NO_ERROR;
  rd_kafka_metadata_destroy(metadata);
  if (reason != RD_KAFKA_RESP_ERR_NO_ERROR && reason != RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART) {
    return Unanswered("topic " + topic + ": " + rd_kafka_err2str(reason));
  }
  if (count == 0) return Status::NotFound("the topic " + topic + " is missing: `postbus topics create` makes it");
  return count;
}

Status LogReader::Assign(const rd_kafka_topic_partition_list_t* partitions) {
  rd_kafka_assign(client_.get(), nullptr);
  const rd_kafka_resp_err_t error = rd_kafka_assign(client_.get(), partitions);
  if (error == RD_KAFKA_RESP_ERR_NO_ERROR) return {};
  return Status::Unavailable(std::string("Kafka: ") + rd_kafka_err2str(error));
}

Status LogReader::Unanswered(const std::string& reason) const {
  return Status::Unavailable("no answer from Kafka at " + brokers_ + ": " + reason);
}

}  // namespace postbus::kafka
