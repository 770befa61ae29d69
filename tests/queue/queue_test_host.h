// tests/queue/queue_test_host.h - a host for tests: an open queue with its shards' wake fds, waited on with deadlines.
// A shard is used by one thread at a time.
#pragma once

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "event/clock.h"
#include "queue/queue.h"

namespace postbus {

inline constexpr int64_t kPatienceMs = 60'000;  // for what must happen; a rebalance takes seconds

inline bool WaitUntil(const std::function<bool()>& condition, int64_t patience_ms = kPatienceMs) {
  const int64_t deadline = BootTimeMs() + patience_ms;
  while (!condition()) {
    if (BootTimeMs() >= deadline) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return true;
}

class TestHost {
 public:
  TestHost(std::unique_ptr<Queue> queue, size_t shards) : queue_(std::move(queue)) {
    for (size_t i = 0; i < shards; ++i) wake_fds_.push_back(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
    const Status started = queue_->StartConsuming(wake_fds_);
    if (!started.ok()) throw std::runtime_error("StartConsuming: " + std::string(started.message()));
  }
  ~TestHost() {
    queue_.reset();
    for (const int fd : wake_fds_) close(fd);
  }

  Queue& queue() { return *queue_; }
  ShardQueue& shard(size_t index = 0) { return queue_->shard(index); }

  // The next event, sleeping on the wake fd alone: a wake-up that is missed fails the test. False: none in
  // `patience_ms`.
  bool Next(QueuedEvent& event, int64_t patience_ms = kPatienceMs, size_t shard_index = 0) {
    const int64_t deadline = BootTimeMs() + patience_ms;
    while (true) {
      shard(shard_index).Flush();
      if (shard(shard_index).Next(event)) return true;
      const int64_t left = deadline - BootTimeMs();
      if (left <= 0) return false;
      pollfd wait{wake_fds_[shard_index], POLLIN, 0};
      if (poll(&wait, 1, static_cast<int>(left)) == 0) return false;
      eventfd_t ignored = 0;
      eventfd_read(wake_fds_[shard_index], &ignored);
    }
  }

  void Complete(const QueuedEvent& event, size_t shard_index = 0) {
    shard(shard_index).Complete(event.turn);
    shard(shard_index).Flush();
  }

  bool Stop() { return queue_->Stop(BootTimeMs() + kPatienceMs); }

 private:
  std::unique_ptr<Queue> queue_;
  std::vector<int> wake_fds_;
};

// Publishes and waits for the callback.
inline Status PublishAndWait(Queue& queue, const Publication& publication) {
  std::atomic<bool> answered{false};
  Status answer;
  Status taken = queue.Publish(publication, [&](const Status& status) {
    if (!status.ok()) answer = Status(status.kind(), std::string(status.message()));
    answered.store(true);
  });
  if (!taken.ok()) return taken;
  if (!WaitUntil([&] { return answered.load(); })) throw std::runtime_error("Publish was never answered");
  return answer;
}
inline Status PublishAndWait(Queue& queue, const NewEvent& event) {
  return PublishAndWait(queue, Publication{.events = {&event, 1}});
}

// Likewise. What becomes of it in the file or the memory of a host may come later.
inline Status CancelAndWait(Queue& queue, std::string_view id) {
  std::atomic<bool> answered{false};
  Status answer;
  Status taken = queue.Cancel(id, [&](const Status& status) {
    if (!status.ok()) answer = Status(status.kind(), std::string(status.message()));
    answered.store(true);
  });
  if (!taken.ok()) return taken;
  if (!WaitUntil([&] { return answered.load(); })) throw std::runtime_error("Cancel was never answered");
  return answer;
}

}  // namespace postbus
