#include "postbus/recording_producer.h"

namespace postbus {

std::vector<Sender::Event> RecordingProducer::sent() const {
  const std::lock_guard lock(mutex_);
  return sent_;
}

void RecordingProducer::SetCapacity(size_t mails) {
  const std::lock_guard lock(mutex_);
  capacity_ = mails;
}

void RecordingProducer::AnswerWith(ErrorKind kind, std::string message) {
  const std::lock_guard lock(mutex_);
  answer_kind_ = kind;
  answer_ = std::move(message);
}

Status RecordingProducer::Take(const Event& event, Done done) {
  Status answer;
  {
    const std::lock_guard lock(mutex_);
    if (sent_.size() >= capacity_) {
      return Status::Unavailable("QUEUE_FULL: it holds " + std::to_string(capacity_) + " mails");
    }
    sent_.push_back(event);
    if (!answer_.empty()) answer = Status(answer_kind_, answer_);
  }
  if (done) done(answer);
  return {};
}

}  // namespace postbus
