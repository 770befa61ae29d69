#include "producer/direct/memory_queue.h"

#include <unistd.h>

#include <cassert>
#include <limits>
#include <utility>

namespace postbus {

Status MemoryQueue::Publish(const Publication& publication, std::function<void(const Status&)> done) {
  assert(publication.events.size() == 1);
  const NewEvent& event = publication.events.front();
  {
    const std::lock_guard lock(mutex_);
    if (stopped_) return Status::Unavailable("the sender is stopping");
    Event& waiting = waiting_.emplace_back();
    waiting.id = event.id;
    waiting.priority = event.priority;
    waiting.accepted_at_unix_ms = event.accepted_at_unix_ms;
    waiting.value = event.value;
    waiting.done = std::move(done);
  }
  Wake();
  return {};
}

void MemoryQueue::Wake() const {
  const uint64_t one = 1;
  [[maybe_unused]] const auto written = write(wake_fd_, &one, sizeof one);
}

Status MemoryQueue::StartConsuming(const std::vector<int>& wake_fds) {
  permit_.Extend(INT64_MAX);
  wake_fd_ = wake_fds.at(0);
  return {};
}

void MemoryQueue::StopConsuming() {
  const std::lock_guard lock(mutex_);
  stopped_ = true;
}

bool MemoryQueue::Stop(int64_t) {
  StopConsuming();
  std::deque<Event> waiting;
  std::map<TurnId, Event> turns;
  {
    const std::lock_guard lock(mutex_);
    waiting.swap(waiting_);
    turns.swap(turns_);
  }
  for (Event& event : waiting) event.done(Status::Unavailable("stopped before the mail was sent"));
  for (auto& [turn, event] : turns) {
    event.done(Status::Uncertain("stopped while the mail was being sent; it may or may not have been"));
  }
  return waiting.empty() && turns.empty();
}

bool MemoryQueue::Next(QueuedEvent& out, Which which) {
  const std::lock_guard lock(mutex_);
  if (stopped_ || waiting_.empty()) return false;
  if (which == Which::kHighOnly && waiting_.front().priority != Priority::kHigh) return false;
  Event& event = turns_.emplace(++last_turn_, std::move(waiting_.front())).first->second;
  waiting_.pop_front();
  out.turn = last_turn_;
  out.priority = event.priority;
  out.value = std::move(event.value);
  out.headers = {};
  out.headers.id = event.id;
  out.headers.accepted_at_unix_ms = event.accepted_at_unix_ms;
  if (scheduled_too_) out.headers.due_unix_ms = std::numeric_limits<int64_t>::max();  // as if it had waited
  out.headers.origin = {.topic = "direct", .partition = 0, .offset = static_cast<int64_t>(last_turn_)};
  out.permit = &permit_;
  return true;
}

// Handed back with some recipients settled, asked to come later than the retry policy lets anything wait, or scheduled.
void MemoryQueue::Defer(TurnId turn, const DeferredCopy& copy) {
  const std::lock_guard lock(mutex_);
  Event& event = turns_.at(turn);
  event.failed += copy.recipients.size();
  if (copy.outcome_class == "scheduled") {
    event.reasons = "it is scheduled for later, and without a queue nothing waits";
    return;
  }
  event.may_work_later = true;
  event.uncertain = event.uncertain || copy.outcome_class == "in_doubt";
  (event.reasons += event.reasons.empty() ? "" : "; ").append(copy.outcome_class);
}

void MemoryQueue::Report(TurnId turn, const StatusRecord& record) {
  const std::lock_guard lock(mutex_);
  Event& event = turns_.at(turn);
  if (record.change == Change::kSent) event.sent += record.recipients.size();
  if (!IsEndWithoutMail(record.change)) return;
  event.failed += record.recipients.size();
  event.uncertain = event.uncertain || record.outcome == "in_doubt";
  for (const std::string_view outcome : {"transient", "throttled", "provider_fault", "not_sent"}) {
    event.may_work_later = event.may_work_later || record.outcome == outcome;
  }
  (event.reasons += event.reasons.empty() ? "" : "; ") +=
      record.change == Change::kDeadLettered ? record.outcome : ChangeName(record.change);
  if (record.code != 0) event.reasons += " " + std::to_string(record.code);
  if (!record.enhanced.empty()) event.reasons += " " + record.enhanced;
  if (!record.text.empty()) event.reasons += (record.code != 0 ? " " : ": ") + record.text;
}

void MemoryQueue::Claim(TurnId turn) {
  claimed_.push_back(turn);
  Wake();
}

void MemoryQueue::TakeClaimed(std::vector<TurnId>& turns) {
  turns.insert(turns.end(), claimed_.begin(), claimed_.end());
  claimed_.clear();
}

Status MemoryQueue::OutcomeOf(const Event& event) {
  if (event.reasons.empty()) return {};
  std::string text = "not sent";
  if (event.sent > 0) {
    text += " to " + std::to_string(event.failed) + " of " + std::to_string(event.sent + event.failed) + " recipients";
  }
  text += ": " + event.reasons;
  if (event.uncertain) return Status::Uncertain(std::move(text));
  return event.may_work_later ? Status::Unavailable(std::move(text)) : Status::Invalid(std::move(text));
}

MemoryQueue::Event MemoryQueue::TakeTurn(TurnId turn) {
  const std::lock_guard lock(mutex_);
  return std::move(turns_.extract(turn).mapped());
}

void MemoryQueue::Complete(TurnId turn) {
  const Event event = TakeTurn(turn);
  event.done(OutcomeOf(event));
}

void MemoryQueue::Abandon(TurnId turn) { TakeTurn(turn).done(Status::Unavailable("stopped before the mail was sent")); }

}  // namespace postbus
