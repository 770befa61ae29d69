// host/settlement.h - what becomes of a job's recipients: decides what follows from an outcome, and says so to
// everybody who is to know - the queue (copies, status records), the log and the metrics. When a turn ends, and what
// the shard does with the job then, is the shard's business. Not thread-safe; one a shard.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "host/job.h"
#include "host/log.h"
#include "host/metrics.h"
#include "host/recipient_hash.h"
#include "host/retry_policy.h"
#include "queue/cancellations.h"
#include "queue/queue.h"
#include "queue/status_record.h"

namespace postbus {

class Settlement {
 public:
  // The others outlive it.
  Settlement(const std::string& recipient_key, const Cancellations& cancellations, Metrics& metrics, Log& log)
      : cancellations_(cancellations), metrics_(metrics), log_(log), hasher_(recipient_key) {}
  // REQUIRES: called before any of those that follow; it outlives them.
  void Use(ShardQueue& queue) { queue_ = &queue; }

  // Settles what its transport answered: those it is the end for are not due any more. The others are to be tried
  // again, by this turn, after so many milliseconds; -1: there are none.
  int64_t SettleAttempt(Job& job, std::string_view via, Metrics::TransportCounters& counters);
  // Settles what is known of an earlier turn that died with its process.
  void SettlePast(Job& job);

  // Dead-letters these recipients without an attempt. `message` has no address in it.
  void Fail(Job& job, RecipientSet who, std::string_view reason, std::string_view message);
  // Everybody who is due gets none.
  void EndWithoutMail(Job& job, Change change);
  // Everybody who is due gets it at its scheduled time,
  void Schedule(Job& job);
  // or in a while, since its transport has no slot for it now (where it expires until then, it has),
  void PutOff(Job& job, std::string_view via, int64_t wait_ms);
  // or at once, from a copy: others of the event are settled.
  void HandBackRest(Job& job);

 private:
  // Recipients of one attempt that share outcome and decision.
  struct Group {
    Decision decision;
    const RecipientOutcome* outcome = nullptr;
    RecipientSet who;
  };

  AttemptFacts Facts(const Job& job, int32_t outcome, int64_t now_due_ms) const;
  // `via`: the transport that said so; empty = not known.
  void SettleGroup(Job& job, std::string_view via, const Group& group);
  void Defer(Job& job, RecipientSet who, int64_t due_unix_ms, int attempts, std::string_view reason);
  void DeadLetter(Job& job, RecipientSet who, int attempts, std::string_view reason, std::string_view message);
  // The one record object, reset; valid until the next call.
  StatusRecord& NewRecord(const Job& job, RecipientSet who);
  void LogAttempt(const Job& job, std::string_view via, LogLevel level, std::string_view what,
                  const RecipientOutcome& outcome, std::string_view enhanced);

  const Cancellations& cancellations_;
  Metrics& metrics_;
  Log& log_;
  RecipientHasher hasher_;
  ShardQueue* queue_ = nullptr;

  StatusRecord record_;
  std::string copy_;
  std::vector<Group> groups_;
};

}  // namespace postbus
