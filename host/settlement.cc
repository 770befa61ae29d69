#include "host/settlement.h"

#include <algorithm>
#include <functional>
#include <utility>

#include "event/clock.h"
#include "event/due_clock.h"
#include "host/redact.h"
#include "host/schedule.h"

namespace postbus {
namespace {

// The transport that it goes by unless that one fails.
const std::string& FirstOfRoute(const Job& job) { return job.generation->config.transports[job.order.front()].name; }

}  // namespace

int64_t Settlement::SettleAttempt(Job& job, std::string_view via, Metrics::TransportCounters& counters) {
  groups_.clear();
  const int64_t now_due_ms = DueTimeMs();
  for (uint32_t i = 0; i < job.indexes.size(); ++i) {
    const RecipientOutcome& outcome = job.OutcomeOf(i);
    const Decision decision = Decide(job.generation->config.retry, Facts(job, outcome.outcome, now_due_ms));
    auto group = std::find_if(groups_.begin(), groups_.end(), [&](const Group& g) {
      return g.decision == decision && g.outcome->outcome == outcome.outcome && g.outcome->code == outcome.code;
    });
    if (group == groups_.end()) {
      groups_.push_back({decision, &outcome, {}});
      group = groups_.end() - 1;
    }
    group->who.insert(job.indexes[i]);
  }
  int64_t wait_ms = -1;
  for (const Group& group : groups_) {
    counters.CountOutcome(group.outcome->outcome, job.queued.priority, group.who.size());
    SettleGroup(job, via, group);
    if (group.decision.action == Decision::Action::kWait) {
      wait_ms = wait_ms < 0 ? group.decision.delay_ms : std::min(wait_ms, group.decision.delay_ms);
    } else {
      job.due.bits &= ~group.who.bits;
      job.touched = true;
    }
  }
  return wait_ms;
}

void Settlement::SettlePast(Job& job) {
  const PastTurn& past = job.queued.past;
  const auto settle = [&](int32_t outcome, RecipientSet who, std::string_view text) {
    who.bits &= job.due.bits;
    if (who.empty()) return;
    RecipientOutcome what;
    what.outcome = outcome;
    what.text = text;
    AttemptFacts facts = Facts(job, outcome, DueTimeMs());
    facts.retry_after_ms = 0;
    Decision decision = Decide(job.generation->config.retry, facts);
    // Whatever the configuration says today: under the one that claimed it, it was to go once.
    if (what.outcome == POSTBUS_IN_DOUBT && past.claimed) {
      decision = {.action = Decision::Action::kDeadLetter, .reason = OutcomeName(outcome)};
    }
    // A copy would be another record, under no suspicion: it goes again as this one, or is poison.
    if (past.crashes > 0 && decision.action == Decision::Action::kDefer) return;
    SettleGroup(job, "", {decision, &what, who});
    job.due.bits &= ~who.bits;
    job.touched = true;
  };
  settle(POSTBUS_ACCEPTED, past.accepted, "accepted before the host ended");
  settle(POSTBUS_IN_DOUBT, past.in_doubt, "the host ended before there was an answer");
  if (past.claimed) {
    settle(POSTBUS_IN_DOUBT, job.due, "a host that ended may have sent it, or put it off; it does not go again");
  }
}

void Settlement::Fail(Job& job, RecipientSet who, std::string_view reason, std::string_view message) {
  StatusRecord& record = NewRecord(job, who);
  record.change = Change::kDeadLettered;
  record.outcome = reason;
  record.text = message;
  DeadLetter(job, who, job.queued.headers.attempt, reason, message);
  queue_->Report(job.queued.turn, record);
  LogLine(log_, LogLevel::kWarning, "dead-lettered").Add("id", job.id).Add("reason", reason).Reply(0, "", message);
}

void Settlement::EndWithoutMail(Job& job, Change change) {
  StatusRecord& record = NewRecord(job, job.due);
  record.change = change;
  queue_->Report(job.queued.turn, record);
  metrics_.CountUnsent(ChangeName(change), job.due.size());
  LogLine(log_, LogLevel::kInfo, ChangeName(change)).Add("id", job.id);
}

void Settlement::Schedule(Job& job) {
  const int64_t due_unix_ms = job.event.scheduled_at_unix_ms;
  Defer(job, job.due, due_unix_ms, job.queued.headers.attempt, "scheduled");
  StatusRecord& record = NewRecord(job, job.due);
  record.change = Change::kScheduled;
  record.due_unix_ms = due_unix_ms;
  queue_->Report(job.queued.turn, record);
  LogLine(log_, LogLevel::kInfo, "scheduled").Add("id", job.id).Seconds("in", due_unix_ms - DueTimeMs());
}

void Settlement::PutOff(Job& job, std::string_view via, int64_t wait_ms) {
  static constexpr std::string_view kReason = "no_slot";
  if (wait_ms >= ExpiresInMs(job.event, DueTimeMs())) return EndWithoutMail(job, Change::kExpired);
  StatusRecord& record = NewRecord(job, job.due);
  record.change = Change::kDeferred;
  record.transport = via;
  record.outcome = kReason;
  record.due_unix_ms = DelayedByMs(wait_ms);
  Defer(job, job.due, record.due_unix_ms, job.queued.headers.attempt, kReason);
  queue_->Report(job.queued.turn, record);
}

void Settlement::HandBackRest(Job& job) {
  Defer(job, job.due, DueTimeMs(), job.queued.headers.attempt, OutcomeName(POSTBUS_NOT_SENT));
}

AttemptFacts Settlement::Facts(const Job& job, int32_t outcome, int64_t now_due_ms) const {
  const RetryConfig& retry = job.generation->config.retry;
  int max_retries = retry.max_retries;
  if (job.event.max_retries == EmailEvent::kNever) max_retries = 0;
  if (job.event.max_retries >= 0) max_retries = std::min(job.event.max_retries, retry.max_retries_limit);
  return {.outcome = outcome,
          .retry_after_ms = job.result.retry_after_ms(),
          .attempts_spent = job.queued.headers.attempt,
          .max_retries = max_retries,
          .waits = job.waits,
          .age_ms = job.AgeMs(now_due_ms),
          .expires_in_ms = ExpiresInMs(job.event, now_due_ms),
          .cancelled = cancellations_.Contains(job.id),
          .spread = std::hash<std::string_view>()(job.id) + static_cast<uint64_t>(job.queued.headers.attempt)};
}

void Settlement::SettleGroup(Job& job, std::string_view via, const Group& group) {
  const Decision& decision = group.decision;
  const RecipientOutcome& outcome = *group.outcome;
  const int attempts = job.queued.headers.attempt + (decision.costs_attempt ? 1 : 0);
  const std::string enhanced = outcome.EnhancedText();
  StatusRecord& record = NewRecord(job, group.who);
  record.attempt = job.queued.headers.attempt + 1;
  record.transport = via;
  record.outcome = OutcomeName(outcome.outcome);
  record.code = outcome.code;
  record.enhanced = enhanced;
  AppendRedacted(outcome.text, EventHeaders::kMaxValueBytes, record.text);
  if (!via.empty()) record.provider_id = job.result.provider_id();
  switch (decision.action) {
    case Decision::Action::kComplete:
      record.change = Change::kSent;
      LogAttempt(job, via, LogLevel::kInfo, "sent", outcome, enhanced);
      break;
    case Decision::Action::kDefer:
      record.change = Change::kDeferred;
      record.due_unix_ms = DelayedByMs(decision.delay_ms);
      Defer(job, group.who, record.due_unix_ms, attempts, decision.reason);
      LogAttempt(job, via, LogLevel::kInfo, "deferred", outcome, enhanced);
      break;
    case Decision::Action::kDeadLetter:
      record.change = Change::kDeadLettered;
      DeadLetter(job, group.who, job.queued.headers.attempt + 1, decision.reason, record.text);
      LogAttempt(job, via, LogLevel::kWarning, "dead-lettered", outcome, enhanced);
      break;
    case Decision::Action::kExpire:
    case Decision::Action::kCancel:
      record.change = decision.action == Decision::Action::kExpire ? Change::kExpired : Change::kCancelled;
      metrics_.CountUnsent(decision.reason, group.who.size());
      LogAttempt(job, via, LogLevel::kInfo, ChangeName(record.change), outcome, enhanced);
      break;
    case Decision::Action::kWait:
      LogAttempt(job, via, LogLevel::kDebug, "waits", outcome, enhanced);
      return;
  }
  queue_->Report(job.queued.turn, record);
}

void Settlement::Defer(Job& job, RecipientSet who, int64_t due_unix_ms, int attempts, std::string_view reason) {
  copy_.clear();
  PatchCopy(job.queued.value, job.event, attempts, "pending", copy_);
  queue_->Defer(
      job.queued.turn,
      {.recipients = who, .due_unix_ms = due_unix_ms, .attempt = attempts, .outcome_class = reason, .value = copy_});
  metrics_.CountDeferral(reason, who.size());
}

void Settlement::DeadLetter(Job& job, RecipientSet who, int attempts, std::string_view reason,
                            std::string_view message) {
  queue_->DeadLetter(job.queued.turn, {.recipients = who,
                                       .attempt = attempts,
                                       .outcome_class = reason,
                                       .message = message,
                                       .id = job.id,
                                       .value = job.queued.value});
  metrics_.CountDeadLetter(reason, std::max(1, who.size()));
}

StatusRecord& Settlement::NewRecord(const Job& job, RecipientSet who) {
  std::vector<uint64_t> hashes = std::move(record_.recipient_hashes);  // for its capacity
  hasher_.Hash(job.event, who, hashes);
  record_ = {};
  record_.recipient_hashes = std::move(hashes);
  record_.id = job.id;
  record_.recipients = who;
  record_.at_unix_ms = UnixTimeMs();
  record_.replay = job.queued.headers.replay;
  return record_;
}

void Settlement::LogAttempt(const Job& job, std::string_view via, LogLevel level, std::string_view what,
                            const RecipientOutcome& outcome, std::string_view enhanced) {
  if (!log_.Enabled(level)) return;
  LogLine line(log_, level, what);
  line.Add("id", job.id).Add("template", job.event.template_name);
  if (!via.empty()) {
    line.Add("via", via);
    if (job.failed_over && via != FirstOfRoute(job)) line.Add("instead_of", FirstOfRoute(job));
  }
  line.Add("try", job.queued.headers.attempt + 1);
  if (outcome.outcome != POSTBUS_ACCEPTED) line.Add("outcome", OutcomeName(outcome.outcome));
  line.Reply(outcome.code, enhanced, outcome.text).Seconds("age", job.AgeMs(DueTimeMs()));
}

}  // namespace postbus
