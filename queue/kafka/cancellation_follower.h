// queue/kafka/cancellation_follower.h - reads all of `<prefix>-cancellations`, from its beginning on, with a client of
// its own, which joins no group, commits nothing and is in nobody's way. Each host does so by itself: a cancelled email
// may come to any of them. So does who tells what became of emails.
//
// One thread of its own. Health by any; the others by its owner's.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>

#include "queue/cancellations.h"
#include "queue/kafka/log_reader.h"
#include "queue/kafka/rdkafka_handles.h"

namespace postbus::kafka {

class CancellationFollower {
 public:
  // `known` gets them; it outlives this. `on_complete` is called once, from the thread: all that were there when it
  // began are in `known`. Until then nobody knows what may be sent, however long it takes.
  CancellationFollower(const KafkaConfig& config, Cancellations& known, QueueLog log,
                       std::function<void()> on_complete);
  ~CancellationFollower();
  CancellationFollower(const CancellationFollower&) = delete;
  CancellationFollower& operator=(const CancellationFollower&) = delete;

  Status Start();

  // kUnavailable: it is not complete yet.
  Status Health() const;

 private:
  void Run();
  // Assigns all partitions from their beginnings. False: the cluster did not answer.
  bool Begin();
  void Take(const rd_kafka_message_t& message);
  void AlarmWhenLate();
  // False: it is time to stop.
  bool SleepUnlessStopping(int64_t ms);

  const KafkaConfig config_;
  const std::string topic_;
  Cancellations& known_;
  const QueueLog log_;
  const std::function<void()> on_complete_;
  std::unique_ptr<LogReader> reader_;

  std::set<int32_t> behind_;  // the thread's: partitions whose end was not seen yet
  int64_t alarm_at_boot_ms_ = 0;
  std::atomic<bool> complete_{false};

  std::mutex mutex_;  // guards the rest
  std::condition_variable stop_changed_;
  bool stopping_ = false;

  std::thread thread_;  // last: starts when all else is there
};

}  // namespace postbus::kafka
