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
      on_complete_(std::move(on_complete)) {}

CancellationFollower::~CancellationFollower() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  stop_changed_.notify_all();
  if (thread_.joinable()) thread_.join();
}

Status CancellationFollower::Start() {
  Result<std::unique_ptr<LogReader>> reader = LogReader::Open(config_, "cancellations", {}, log_);
  if (!reader.ok()) return reader.TakeStatus();
  reader_ = std::move(*reader);
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
    const MessagePtr message = reader_->Next(kPollMs);
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
  const Result<int> partitions = reader_->PartitionCount(topic_, kAskMs);
  if (!partitions.ok()) return false;
  const OffsetListPtr list(rd_kafka_topic_partition_list_new(*partitions));
  for (int32_t i = 0; i < *partitions; ++i) {
    rd_kafka_topic_partition_list_add(list.get(), topic_.c_str(), i)->offset = RD_KAFKA_OFFSET_BEGINNING;
    behind_.insert(i);
  }
  return reader_->Assign(list.get()).ok();
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
