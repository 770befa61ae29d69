// postbus/recording_producer.h - for tests of what sends mails: checks each mail as the others do, keeps it, sends
// none.
#pragma once

#include <cstddef>
#include <mutex>
#include <string>
#include <vector>

#include "postbus/sender.h"

namespace postbus {

// Thread-safe. Calls `done` before the call that sends returns.
class RecordingProducer final : public Sender {
 public:
  // In the order they were taken.
  std::vector<Event> sent() const;

  // Mails beyond this number are QUEUE_FULL.
  void SetCapacity(size_t mails);
  // What `done` tells of the mails to come; success at first. Such mails are kept here all the same.
  void AnswerWith(ErrorKind kind, std::string message);

  bool Flush(std::chrono::milliseconds) override { return true; }

 private:
  Status Take(const Event& event, Done done) override;

  mutable std::mutex mutex_;
  std::vector<Event> sent_;
  size_t capacity_ = SIZE_MAX;
  ErrorKind answer_kind_ = ErrorKind::kInternal;
  std::string answer_;  // empty = success
};

}  // namespace postbus
