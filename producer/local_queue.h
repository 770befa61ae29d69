// producer/local_queue.h - how much a Sender has taken and not told of yet, with a limit in mails and bytes.
// Thread-safe.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <mutex>
#include <string>

#include "event/status.h"

namespace postbus {

class LocalQueue {
 public:
  static constexpr size_t kMaxBytes = 128 * 1024 * 1024;

  explicit LocalQueue(size_t max_mails) : max_mails_(max_mails) {}

  // Makes room for a mail, or says QUEUE_FULL.
  Status Enter(size_t bytes) {
    const std::lock_guard lock(mutex_);
    if (mails_ >= max_mails_ || bytes_ + bytes > kMaxBytes) {
      return Status::Unavailable("QUEUE_FULL: the local queue has no room beside its " + std::to_string(mails_) +
                                 " mails; try again in a while");
    }
    ++mails_;
    bytes_ += bytes;
    return {};
  }

  // After the mail was told of.
  void Leave(size_t bytes) {
    const std::lock_guard lock(mutex_);
    --mails_;
    bytes_ -= bytes;
    if (mails_ == 0) empty_.notify_all();
  }

  bool WaitUntilEmpty(std::chrono::milliseconds within) {
    std::unique_lock lock(mutex_);
    return empty_.wait_for(lock, within, [this] { return mails_ == 0; });
  }

 private:
  const size_t max_mails_;
  std::mutex mutex_;
  std::condition_variable empty_;
  size_t mails_ = 0;  // guarded by mutex_
  size_t bytes_ = 0;  // guarded by mutex_
};

}  // namespace postbus
