// tests/host/fake_queue.h - a queue in memory for tests of the pipeline: yields what it is given, records what is
// settled.
#pragma once

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "event/clock.h"
#include "queue/queue.h"

namespace postbus {

class FakeQueue final : public Queue, public ShardQueue {
 public:
  int start_takes_ms = 0;  // of StartConsuming

  struct Copy {
    RecipientSet recipients;
    int64_t due_unix_ms = 0;
    int attempt = 0;
    std::string outcome_class;
    std::string message;
    std::string id;
    std::string value;
  };
  // What was done with one turn.
  struct Turn {
    std::string value;
    std::vector<Copy> deferred;
    std::vector<Copy> dead_letters;
    std::vector<StatusRecord> reports;
    int completed = 0;
    int abandoned = 0;
    int forwarded = 0;
    int claims = 0;
    bool claimed = false;  // asked for and not taken back

    bool over() const { return completed + abandoned + forwarded > 0; }
  };

  FakeQueue() { permit_.Extend(INT64_MAX); }

  // Returns the turn the event will have.
  TurnId Add(std::string value, EventHeaders headers = {}, Priority priority = Priority::kNormal, PastTurn past = {}) {
    const std::lock_guard lock(mutex_);
    const TurnId turn = ++last_turn_;
    turns_[turn].value = value;
    if (headers.accepted_at_unix_ms == 0) headers.accepted_at_unix_ms = UnixTimeMs();
    if (headers.origin.topic.empty()) headers.origin = {.topic = "fake", .partition = 0, .offset = int64_t(turn)};
    waiting_.push_back({turn, std::move(value), std::move(headers), priority, past});
    Wake();
    return turn;
  }

  // Waits (10 s at most) until the turn is over; returns what was done.
  Turn Await(TurnId turn) {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, std::chrono::seconds(10), [&] { return turns_[turn].over(); });
    return turns_[turn];
  }
  // The same for anything else; looks again every few milliseconds, since not everything changes in here.
  template <typename Condition>
  bool AwaitThat(Condition condition) {
    const int64_t deadline = BootTimeMs() + 10'000;
    std::unique_lock lock(mutex_);
    while (!condition(*this)) {
      if (BootTimeMs() >= deadline) return false;
      changed_.wait_for(lock, std::chrono::milliseconds(5));
    }
    return true;
  }
  size_t taken() const { return last_turn_ - waiting_.size(); }  // inside AwaitThat

  std::map<TurnId, Turn> turns() {
    const std::lock_guard lock(mutex_);
    return turns_;
  }
  void Revoke(TurnId turn) {
    const std::lock_guard lock(mutex_);
    revoked_.push_back(turn);
    Wake();
  }
  SendPermit& permit() { return permit_; }
  // As in Kafka, where others write to the queue of the normal ones.
  void TakeForwarded() {
    const std::lock_guard lock(mutex_);
    takes_forwarded_ = true;
  }
  // What is claimed from now on becomes durable by GrantClaims only.
  void HoldClaims() {
    const std::lock_guard lock(mutex_);
    holds_claims_ = true;
  }
  void GrantClaims() {
    const std::lock_guard lock(mutex_);
    granted_.insert(granted_.end(), asked_.begin(), asked_.end());
    asked_.clear();
    Wake();
  }

  // ShardQueue
  using ShardQueue::Next;
  bool Next(QueuedEvent& out, Which which) override {
    const std::lock_guard lock(mutex_);
    if (stopped_ || waiting_.empty()) return false;
    auto next = waiting_.begin();
    if (which == Which::kHighOnly) {
      next = std::find_if(next, waiting_.end(), [](const Waiting& event) { return event.priority == Priority::kHigh; });
      if (next == waiting_.end()) return false;
    }
    out.turn = next->turn;
    out.priority = next->priority;
    out.value = next->value;
    out.headers = next->headers;
    out.permit = &permit_;
    out.past = next->past;
    waiting_.erase(next);
    changed_.notify_all();
    return true;
  }
  void Defer(TurnId turn, const DeferredCopy& copy) override {
    const std::lock_guard lock(mutex_);
    turns_[turn].deferred.push_back({.recipients = copy.recipients,
                                     .due_unix_ms = copy.due_unix_ms,
                                     .attempt = copy.attempt,
                                     .outcome_class = std::string(copy.outcome_class),
                                     .message = {},
                                     .id = {},
                                     .value = std::string(copy.value)});
  }
  void DeadLetter(TurnId turn, const DeadLetterCopy& copy) override {
    const std::lock_guard lock(mutex_);
    turns_[turn].dead_letters.push_back({.recipients = copy.recipients,
                                         .due_unix_ms = 0,
                                         .attempt = copy.attempt,
                                         .outcome_class = std::string(copy.outcome_class),
                                         .message = std::string(copy.message),
                                         .id = std::string(copy.id),
                                         .value = std::string(copy.value)});
  }
  void Report(TurnId turn, const StatusRecord& record) override {
    const std::lock_guard lock(mutex_);
    turns_[turn].reports.push_back(record);
  }
  void Complete(TurnId turn) override { End(turn, &Turn::completed); }
  void Abandon(TurnId turn) override { End(turn, &Turn::abandoned); }
  bool Forward(TurnId turn, Priority to, std::string_view value) override {
    {
      const std::lock_guard lock(mutex_);
      if (!takes_forwarded_) return false;
    }
    Add(std::string(value), {}, to);
    End(turn, &Turn::forwarded);
    return true;
  }
  void TakeRevoked(std::vector<TurnId>& turns) override {
    const std::lock_guard lock(mutex_);
    turns.insert(turns.end(), revoked_.begin(), revoked_.end());
    revoked_.clear();
  }
  void Claim(TurnId turn) override {
    const std::lock_guard lock(mutex_);
    ++turns_[turn].claims;
    turns_[turn].claimed = true;
    (holds_claims_ ? asked_ : granted_).push_back(turn);
    if (!holds_claims_) Wake();
    changed_.notify_all();
  }
  void Unclaim(TurnId turn) override {
    const std::lock_guard lock(mutex_);
    turns_[turn].claimed = false;
    std::erase(asked_, turn);
    std::erase(granted_, turn);
    changed_.notify_all();
  }
  void TakeClaimed(std::vector<TurnId>& turns) override {
    const std::lock_guard lock(mutex_);
    turns.insert(turns.end(), granted_.begin(), granted_.end());
    granted_.clear();
  }
  void Flush() override {}

  // Queue
  Status Publish(const Publication& publication, std::function<void(const Status&)> done) override {
    for (const NewEvent& event : publication.events) Add(std::string(event.value));
    done({});
    return {};
  }
  Status Cancel(std::string_view id, std::function<void(const Status&)> done) override {
    cancellations_.Add(id, UnixTimeMs());
    done({});
    return {};
  }
  const Cancellations& cancellations() const override { return cancellations_; }
  Status StartConsuming(const std::vector<int>& wake_fds) override {
    wake_fd_ = wake_fds.at(0);
    std::this_thread::sleep_for(std::chrono::milliseconds(start_takes_ms));
    stopped_ = false;
    return {};
  }
  ShardQueue& shard(size_t) override { return *this; }
  void StopConsuming() override {
    const std::lock_guard lock(mutex_);
    stopped_ = true;
  }
  bool Stop(int64_t) override { return true; }
  postbus::Status Health() const override { return {}; }
  QueueStats Stats() const override { return {}; }
  std::string Description() const override { return "fake"; }

 private:
  struct Waiting {
    TurnId turn;
    std::string value;
    EventHeaders headers;
    Priority priority;
    PastTurn past;
  };

  void End(TurnId turn, int Turn::*counter) {
    const std::lock_guard lock(mutex_);
    ++(turns_[turn].*counter);
    changed_.notify_all();
  }
  void Wake() const {
    const uint64_t one = 1;
    if (wake_fd_ >= 0) [[maybe_unused]]
      const auto written = write(wake_fd_, &one, sizeof one);
  }

  SendPermit permit_;
  Cancellations cancellations_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Waiting> waiting_;
  std::map<TurnId, Turn> turns_;
  std::vector<TurnId> revoked_;
  std::vector<TurnId> asked_;
  std::vector<TurnId> granted_;
  bool holds_claims_ = false;
  TurnId last_turn_ = 0;
  bool stopped_ = false;
  bool takes_forwarded_ = false;
  int wake_fd_ = -1;
};

}  // namespace postbus
