#include "queue/kafka/partition.h"

#include <algorithm>

namespace postbus::kafka {

Partition::Partition(std::string topic_name, int32_t partition_number, const OffsetMap& start, QueuePtr fetch_queue)
    : topic(std::move(topic_name)),
      number(partition_number),
      name(topic + " [" + std::to_string(number) + "]"),
      tracker_(start),
      fetch_queue_(std::move(fetch_queue)) {}

MessagePtr Partition::Take(Admission& admission) {
  std::lock_guard lock(mutex_);
  if (state_ != State::kOpen || stopped_for_good_ || holds_ > 0) return nullptr;
  while (true) {
    if (!tracker_.MayDispatch()) {
      window_closed_ = true;
      return nullptr;
    }
    MessagePtr message(rd_kafka_consume_queue(fetch_queue_.get(), 0));
    if (message == nullptr) return nullptr;
    if (message->err != RD_KAFKA_RESP_ERR_NO_ERROR) {
      // librdkafka tries again by itself where that can help. What reaches us (offset out of range, topic or its
      // authorization gone, a checksum that is wrong) leaves the fetch where it is: never skip over it.
      StopLocked(std::string(rd_kafka_err2name(message->err)) + ": " + rd_kafka_message_errstr(message.get()));
      return nullptr;
    }
    admission = tracker_.Begin(message->offset);
    if (admission == Admission::kDispatch || admission == Admission::kClaimed) return message;
  }
}

bool Partition::Complete(int64_t offset) {
  std::lock_guard lock(mutex_);
  if (state_ == State::kClosed) return false;
  tracker_.Complete(offset);
  return std::exchange(window_closed_, false);
}

void Partition::StopForGood(std::string reason) {
  std::lock_guard lock(mutex_);
  StopLocked(std::move(reason));
}

void Partition::StopLocked(std::string reason) {
  if (stopped_for_good_) return;
  stopped_for_good_ = true;
  alarm_ = name + " is stopped: " + std::move(reason);
}

void Partition::Hold() {
  std::lock_guard lock(mutex_);
  ++holds_;
}

void Partition::Release() {
  std::lock_guard lock(mutex_);
  --holds_;
}

bool Partition::stopped() const {
  std::lock_guard lock(mutex_);
  return stopped_for_good_ || holds_ > 0;
}

std::optional<std::string> Partition::TakeAlarm() {
  std::lock_guard lock(mutex_);
  return std::exchange(alarm_, std::nullopt);
}

void Partition::BeginRevoke() {
  permit.Revoke();
  std::lock_guard lock(mutex_);
  if (state_ == State::kOpen) state_ = State::kRevoking;
}

void Partition::Close() {
  permit.Revoke();
  std::lock_guard lock(mutex_);
  state_ = State::kClosed;
  if (fetch_queue_ != nullptr) rd_kafka_queue_io_event_enable(fetch_queue_.get(), -1, nullptr, 0);
  fetch_queue_.reset();
}

bool Partition::closed() const {
  std::lock_guard lock(mutex_);
  return state_ == State::kClosed;
}

bool Partition::revoking() const {
  std::lock_guard lock(mutex_);
  return state_ != State::kOpen;
}

std::optional<Snapshot> Partition::TakeSnapshot() {
  std::lock_guard lock(mutex_);
  if (state_ == State::kClosed || (!tracker_.dirty() && question_ == Question::kNone)) {
    return std::nullopt;
  }
  if (question_ == Question::kOpen) question_ = Question::kAsked;
  return without_map_ ? tracker_.TakeBase() : tracker_.Take();
}

void Partition::Committed(const Snapshot& snapshot) {
  std::lock_guard lock(mutex_);
  tracker_.Committed(snapshot);
  if (question_ == Question::kAsked) question_ = Question::kNone;
}

void Partition::AskByCommit() {
  std::lock_guard lock(mutex_);
  question_ = Question::kOpen;
}

bool Partition::asking() const {
  std::lock_guard lock(mutex_);
  return question_ != Question::kNone;
}

void Partition::CommitWithoutMap() {
  std::lock_guard lock(mutex_);
  without_map_ = true;
}

uint64_t Partition::uncommitted() const {
  std::lock_guard lock(mutex_);
  return tracker_.uncommitted();
}

int64_t Partition::Waiting(int64_t log_end) const {
  std::lock_guard lock(mutex_);
  return tracker_.Backlog(log_end) - static_cast<int64_t>(tracker_.in_flight());
}

int64_t Partition::Backlog(int64_t log_end) const {
  std::lock_guard lock(mutex_);
  return tracker_.Backlog(log_end);
}

}  // namespace postbus::kafka
