// producer/direct/memory_queue.h - the queue of the direct sender: the host's pipeline runs on it as on any other, but
// nothing is kept. An event has one turn, and whoever published it hears how that ended.
//
// Thread-safe; one shard.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "queue/queue.h"

namespace postbus {

class MemoryQueue final : public Queue, private ShardQueue {
 public:
  // `scheduled_too`: events that are scheduled for later are sent at once. Else they are refused: nothing waits here.
  explicit MemoryQueue(bool scheduled_too = false) : scheduled_too_(scheduled_too) {}

  // One event. `done`: success = each recipient's next hop has the mail. Told once, at the end of the event's turn.
  using Queue::Publish;
  Status Publish(const Publication& publication, std::function<void(const Status&)> done) override;
  // Nothing waits here for longer than it takes.
  Status Cancel(std::string_view, std::function<void(const Status&)>) override {
    return Status::Invalid("without a queue nothing can be cancelled");
  }
  const Cancellations& cancellations() const override { return no_cancellations_; }
  Status StartConsuming(const std::vector<int>& wake_fds) override;
  ShardQueue& shard(size_t) override { return *this; }
  void StopConsuming() override;
  // Answers for what is left: not sent, or not known.
  bool Stop(int64_t deadline_boot_ms) override;
  Status Health() const override { return {}; }
  QueueStats Stats() const override { return {}; }
  std::string Description() const override { return "none: mails are sent directly"; }

 private:
  struct Event {
    std::string id;
    Priority priority = Priority::kNormal;
    int64_t accepted_at_unix_ms = 0;
    std::string value;
    std::function<void(const Status&)> done;
    // Of its turn:
    int sent = 0;  // recipients
    int failed = 0;
    bool uncertain = false;
    bool may_work_later = false;
    std::string reasons;
  };

  bool Next(QueuedEvent& out, Which which) override;
  void Defer(TurnId turn, const DeferredCopy& copy) override;
  void DeadLetter(TurnId, const DeadLetterCopy&) override {}  // the report says the same
  void Report(TurnId turn, const StatusRecord& record) override;
  void Complete(TurnId turn) override;
  void Abandon(TurnId turn) override;
  void TakeRevoked(std::vector<TurnId>&) override {}
  // Nothing outlives the process, so that every turn is the only one.
  void Claim(TurnId turn) override;
  void Unclaim(TurnId turn) override { std::erase(claimed_, turn); }
  void TakeClaimed(std::vector<TurnId>& turns) override;
  void Flush() override {}

  void Wake() const;
  static Status OutcomeOf(const Event& event);
  Event TakeTurn(TurnId turn);

  const bool scheduled_too_;
  SendPermit permit_;  // always valid
  const Cancellations no_cancellations_;
  int wake_fd_ = -1;

  std::mutex mutex_;
  bool stopped_ = false;  // guarded by mutex_, as all below
  std::deque<Event> waiting_;
  std::map<TurnId, Event> turns_;  // under way
  TurnId last_turn_ = 0;

  std::vector<TurnId> claimed_;  // the shard's thread alone
};

}  // namespace postbus
