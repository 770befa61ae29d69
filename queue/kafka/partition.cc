#include "queue/kafka/partition.h"

#include <algorithm>

namespace postbus::kafka {

namespace {

uint64_t FingerprintOf(const rd_kafka_message_t& message) {
  rd_kafka_timestamp_type_t type = RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
  return Journal::Fingerprint({static_cast<const char*>(message.key), message.key_len},
                              rd_kafka_message_timestamp(&message, &type), message.len);
}

}  // namespace

Partition::Partition(std::string topic_name, int32_t partition_number, const OffsetMap& start, QueuePtr fetch_queue,
                     std::shared_ptr<Journal> journal)
    : topic(std::move(topic_name)),
      number(partition_number),
      name(topic + " [" + std::to_string(number) + "]"),
      start_end(start.end),
      journal_(std::move(journal)),
      tracker_(start),
      fetch_queue_(std::move(fetch_queue)) {
  if (journal_ != nullptr) journal_->StartOver(start.base);
}

Partition::Taken Partition::Take() {
  std::lock_guard lock(mutex_);
  if (state_ != State::kOpen || stopped_for_good_ || holds_ > 0) return {};
  while (true) {
    if (!tracker_.MayDispatch() || (journal_ != nullptr && journal_->full())) {
      window_closed_ = true;
      return {};
    }
    Taken taken;
    MessagePtr& message = taken.message;
    message.reset(rd_kafka_consume_queue(fetch_queue_.get(), 0));
    if (message == nullptr) return {};
    if (message->err != RD_KAFKA_RESP_ERR_NO_ERROR) {
      // librdkafka tries again by itself where that can help. What reaches us (offset out of range, topic or its
      // authorization gone, a checksum that is wrong) leaves the fetch where it is: never skip over it.
      StopLocked(std::string(rd_kafka_err2name(message->err)) + ": " + rd_kafka_message_errstr(message.get()));
      return {};
    }
    taken.admission = tracker_.Begin(message->offset);
    if (taken.admission == Admission::kComplete && journal_ != nullptr) journal_->Forget(message->offset);
    if (taken.admission != Admission::kDispatch && taken.admission != Admission::kClaimed) continue;
    // It has room: only the reader takes slots.
    if (journal_ != nullptr) {
      static_cast<void>(journal_->Begin(message->offset, FingerprintOf(*message), taken.marks, taken.past));
    }
    if (!taken.past.over) return taken;
    CompleteLocked(message->offset, taken.marks);  // what was missing is the commit alone
  }
}

bool Partition::Complete(int64_t offset, TurnMarks marks) {
  std::lock_guard lock(mutex_);
  if (state_ == State::kClosed) {
    if (marks.slot() != nullptr) journal_->Over(marks);
    return false;
  }
  CompleteLocked(offset, marks);
  return std::exchange(window_closed_, false);
}

void Partition::CompleteLocked(int64_t offset, TurnMarks marks) {
  if (marks.slot() != nullptr) journal_->Over(marks);
  if (tracker_.Complete(offset) == Completion::kCompleted && journal_ != nullptr) {
    uncommitted_.push_back({offset, marks});
  }
}

void Partition::Abandon(TurnMarks marks) {
  if (marks.slot() != nullptr) journal_->Abandon(marks);
}

bool Partition::Claim(int64_t offset, uint64_t ticket) {
  std::lock_guard lock(mutex_);
  if (state_ == State::kClosed) return false;
  const std::optional<uint64_t> generation = tracker_.Claim(offset);
  if (!generation) return false;
  if (*generation <= tracker_.committed_generation()) return true;
  claims_.push_back({*generation, ticket});
  claims_wait_ = true;
  return false;
}

void Partition::Unclaim(int64_t offset, uint64_t ticket, TurnMarks marks) {
  std::lock_guard lock(mutex_);
  // The claim of a closed one stays where it is stored, and then what the journal says of it is true.
  if (state_ == State::kClosed) return;
  marks.Claimed(false);  // before another host may make it
  tracker_.Unclaim(offset);
  std::erase_if(claims_, [ticket](const WaitingClaim& each) { return each.ticket == ticket; });
  claims_wait_ = !claims_.empty();
}

void Partition::TakeClaimed(std::vector<uint64_t>& tickets) {
  std::lock_guard lock(mutex_);
  while (!claims_.empty() && claims_.front().generation <= tracker_.committed_generation()) {
    tickets.push_back(claims_.front().ticket);
    claims_.pop_front();
  }
  claims_wait_ = !claims_.empty();
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
  claims_.clear();
  claims_wait_ = false;
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
  if (state_ == State::kClosed) return;  // what the journal keeps is for the next assignment
  const auto release = [this](const Uncommitted& each) {
    if (each.marks.slot() != nullptr) journal_->Release(each.marks);
    ++committed_;
  };
  // Without a map a commit counts only for what is below its base.
  while (!uncommitted_.empty() &&
         (without_map_ ? uncommitted_.front().offset < snapshot.base : committed_ < snapshot.completed)) {
    release(uncommitted_.front());
    uncommitted_.pop_front();
  }
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
