#include "queue/kafka/cancellation_follower.h"

#include <chrono>
#include <limits>
#include <string_view>

#include "event/clock.h"
#include "queue/kafka/topics.h"

namespace postbus::kafka {
namespace {

constexpr int kAskMs = 3'000;
constexpr int kPollMs = 100;
constexpr int64_t kAgainAfterMs = 500;
constexpr int64_t kLateMs = 10'000;

}  // namespace

CancellationFollower::CancellationFollower(const KafkaConfig& config, Cancellations& known, QueueLog log,
                                           std::function<void()> on_complete)
    : config_(config),
      topic_(TopicNames(config).cancellations),
      known_(known),
      log_(std::move(log)),
      on_complete_(std::move(on_complete)),
      context_{&log_, this} {}

CancellationFollower::~CancellationFollower() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  stop_changed_.notify_all();
  if (thread_.joinable()) thread_.join();
  if (client_) rd_kafka_consumer_close(client_.get());
}

Status CancellationFollower::Start() {
  Result<ConfPtr> conf = MakeConf(config_, FollowerProperties(config_.group_id + "-cancellations"), &context_);
  if (!conf.ok()) return conf.TakeStatus();
  Result<rd_kafka_t*> client = NewClient(RD_KAFKA_CONSUMER, std::move(*conf));
  if (!client.ok()) return client.TakeStatus();
  client_.reset(*client);
  rd_kafka_poll_set_consumer(client_.get());
  thread_ = std::thread([this] { Run(); });
  return {};
}

Status CancellationFollower::Health() const {
  if (complete_) return {};
  return Status::Unavailable("the topic " + topic_ +
                             " is not read to its end yet: nothing is sent before it is known what was cancelled");
}

void CancellationFollower::Run() {
  alarm_at_boot_ms_ = BootTimeMs() + kLateMs;
  while (!Begin()) {
    AlarmWhenLate();
    if (!SleepUnlessStopping(kAgainAfterMs)) return;
  }
  do {
    const MessagePtr message(rd_kafka_consumer_poll(client_.get(), kPollMs));
    if (message != nullptr && message->err == RD_KAFKA_RESP_ERR_NO_ERROR) {
      Take(*message);
    } else if (message != nullptr && message->err == RD_KAFKA_RESP_ERR__PARTITION_EOF) {
      behind_.erase(message->partition);
    }  // other errors pass; librdkafka logs them
    if (complete_) continue;
    if (behind_.empty()) {
      complete_ = true;
      on_complete_();
      log_(LogLevel::kDebug, std::to_string(known_.size()) + " cancellations are known");
    } else {
      AlarmWhenLate();
    }
  } while (SleepUnlessStopping(0));
}

bool CancellationFollower::Begin() {
  const TopicPtr topic(rd_kafka_topic_new(client_.get(), topic_.c_str(), nullptr));
  const rd_kafka_metadata_t* metadata = nullptr;
  if (rd_kafka_metadata(client_.get(), 0, topic.get(), &metadata, kAskMs) != RD_KAFKA_RESP_ERR_NO_ERROR) return false;
  const int partitions = metadata->topic_cnt == 1 ? metadata->topics[0].partition_cnt : 0;
  rd_kafka_metadata_destroy(metadata);
  if (partitions == 0) return false;
  const OffsetListPtr list(rd_kafka_topic_partition_list_new(partitions));
  for (int32_t i = 0; i < partitions; ++i) {
    rd_kafka_topic_partition_list_add(list.get(), topic_.c_str(), i)->offset = RD_KAFKA_OFFSET_BEGINNING;
    behind_.insert(i);
  }
  return rd_kafka_assign(client_.get(), list.get()) == RD_KAFKA_RESP_ERR_NO_ERROR;
}

// A record without a value is one that somebody deletes; we never do.
void CancellationFollower::Take(const rd_kafka_message_t& message) {
  if (message.key == nullptr || message.payload == nullptr) return;
  rd_kafka_timestamp_type_t type = RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
  known_.Add({static_cast<const char*>(message.key), message.key_len}, rd_kafka_message_timestamp(&message, &type));
}

void CancellationFollower::AlarmWhenLate() {
  if (BootTimeMs() < alarm_at_boot_ms_) return;
  alarm_at_boot_ms_ = std::numeric_limits<int64_t>::max();
  log_(LogLevel::kError, Health().message());
}

bool CancellationFollower::SleepUnlessStopping(int64_t ms) {
  std::unique_lock lock(mutex_);
  stop_changed_.wait_for(lock, std::chrono::milliseconds(ms), [this] { return stopping_; });
  return !stopping_;
}

}  // namespace postbus::kafka
