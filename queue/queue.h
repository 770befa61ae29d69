// queue/queue.h - the queue at the level of settling. Two backends: queue/kafka/ and queue/sqlite/, held to the same
// behaviour by tests/queue/conformance_test.cc. Partitions and offsets, rows and leases stay inside them.
//
// An event is *accepted* when Publish's callback gets success: from then on it stays in the queue until its turn was
// completed. A *turn* is one visit of an event at a host: Next begins it, Complete ends it. In between the host may add
// copies to it: deferred ones (the event comes again later) and dead letters. Copies are durable before the turn is
// over; a turn that never ends (crash, revocation) begins again here or on another host. At least once, order not
// promised.
//
// At most once (QueueConfig::at_most_once): the host *claims* a turn before its mail may be sent, and waits until the
// claim is durable. Whoever begins a claimed event again is told so and must not send it, unless the journal proves
// that it was not sent; its recipients are dead-lettered (`in_doubt`).
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "event/clock.h"
#include "event/email_event.h"
#include "event/status.h"
#include "queue/cancellations.h"
#include "queue/event_headers.h"
#include "queue/journal.h"
#include "queue/queue_config.h"
#include "queue/status_record.h"

namespace postbus {

// Whether mails of a turn may still pass their point of no return: while BootTimeMs() is before the deadline. The queue
// moves the deadline on as long as all is well (partition ours, control thread alive, commits answered) and to 0 when
// not. Read from any thread, wait-free.
class SendPermit {
 public:
  bool Valid(int64_t now_boot_ms) const { return now_boot_ms < deadline_.load(std::memory_order_acquire); }
  void Extend(int64_t deadline_boot_ms) { deadline_.store(deadline_boot_ms, std::memory_order_release); }
  void Revoke() { deadline_.store(0, std::memory_order_release); }

 private:
  std::atomic<int64_t> deadline_{0};
};

// Names a turn; unique within a ShardQueue until the turn has ended.
using TurnId = uint64_t;

// One event whose turn has begun. Reuse the object: strings keep their capacity.
struct QueuedEvent {
  TurnId turn = 0;
  Priority priority = Priority::kNormal;
  std::string value;                   // JSON as it was published; not looked at by the queue
  EventHeaders headers;                // origin is always filled, accepted_at too
  const SendPermit* permit = nullptr;  // valid until the turn has ended
  TurnMarks marks;                     // to be set as the turn goes on; valid as long
  PastTurn past;                       // what is known of an earlier turn that a dead process began; never `over`
};

struct DeferredCopy {
  RecipientSet recipients;  // the copy's
  int64_t due_unix_ms = 0;
  int attempt = 0;  // attempts spent so far
  std::string_view outcome_class;
  std::string_view value;  // the copy's value, already patched
};

struct DeadLetterCopy {
  RecipientSet recipients;
  int attempt = 0;
  std::string_view outcome_class;  // "rejected_recipient", "invalid_event", "render_error", "attempts_exhausted", ...
  std::string_view message;        // a sentence, no addresses; cut at 512 bytes
  std::string_view id;             // of the event, where the record's headers have none
  std::string_view value;          // as it was read
};

// One shard's face of the queue. All calls from the shard's thread.
class ShardQueue {
 public:
  virtual ~ShardQueue() = default;

  // Begins the turn of the next event, by priority (weights 70/25/5 while all have some), or of the next high one.
  // False: none now; the shard's wake fd is written when that changes.
  enum class Which : uint8_t { kAny, kHighOnly };
  virtual bool Next(QueuedEvent& out, Which which) = 0;
  bool Next(QueuedEvent& out) { return Next(out, Which::kAny); }

  // Adds to a turn; may be called several times. REQUIRES: the turn has begun and not ended.
  virtual void Defer(TurnId turn, const DeferredCopy& copy) = 0;
  virtual void DeadLetter(TurnId turn, const DeadLetterCopy& copy) = 0;
  // Best effort, except that a turn which ends without a mail (IsEndWithoutMail) is over only when that was written.
  virtual void Report(TurnId turn, const StatusRecord& record) = 0;

  // Ends the turn: once its copies are durable the event is done.
  virtual void Complete(TurnId turn) = 0;

  // Ends the turn by handing the event on, as it is, to the queue of another priority, where its turn begins anew; this
  // one is over when it is stored there. False, and nothing was done: this queue has each event where it belongs.
  // REQUIRES: the turn has begun and not ended; nothing was added to it; `value` is what was read.
  virtual bool Forward(TurnId /*turn*/, Priority /*to*/, std::string_view /*value*/) { return false; }

  // Ends the turn without having done anything: the event begins again here or elsewhere. REQUIRES: the turn was in
  // `TakeRevoked`, or the queue is stopping; nothing was added to the turn.
  virtual void Abandon(TurnId turn) = 0;

  // Turns that should end soon, since the event is about to belong to another host: cancel what is before its point of
  // no return and Abandon it; Complete the rest. Appends to `turns`; each turn is named once.
  virtual void TakeRevoked(std::vector<TurnId>& turns) = 0;

  // Asks for the turn's claim. Once TakeClaimed has named the turn, the claim is durable, and the mail may be sent;
  // many claims share a commit. Abandon takes it back.
  virtual void Claim(TurnId turn) = 0;
  // Takes the claim back, whether it is durable or not: nothing of the turn was sent, for certain.
  virtual void Unclaim(TurnId turn) = 0;
  // Appends the turns whose claim has become durable; each once a Claim. The wake fd is written when there are some.
  virtual void TakeClaimed(std::vector<TurnId>& turns) = 0;

  // Of the work that the group has, the part that is this host's: above 0, at most 1. For limits that all hosts share.
  virtual double GroupShare() const { return 1; }

  // Writes out what is pending (group commit, queued copies). The shard calls it once a round, after its settlements.
  virtual void Flush() = 0;
};

// Counters since start and gauges; for metrics. Not every field means something on both backends.
struct QueueStats {
  uint64_t published = 0;  // accepted by the queue
  uint64_t publish_failures = 0;
  uint64_t consumed = 0;       // turns begun
  uint64_t completed = 0;      // turns over
  uint64_t deferred = 0;       // copies, durable
  uint64_t dead_lettered = 0;  // copies, durable
  uint64_t cancelled = 0;      // SQLite: events taken out of the file, without a turn, since they were cancelled
  uint64_t commits = 0;        // offset commits answered well, or transactions
  uint64_t commit_failures = 0;
  uint64_t offset_maps_ignored = 0;  // Kafka
  uint64_t rebalances = 0;           // Kafka
  int64_t waiting = 0;               // true backlog: neither done nor in a turn; -1 = not known
  int64_t delayed = 0;               // waiting for their due time; -1 = not known
  int64_t assigned_partitions = 0;   // Kafka
  int64_t stopped_partitions = 0;    // Kafka: with an alarm, e.g. an unknown postbus-fmt
};

// What the queue wants to tell: one line each, no address, no secret. Called from any thread.
enum class LogLevel : uint8_t { kDebug, kInfo, kWarning, kError };
using QueueLog = std::function<void(LogLevel, std::string_view)>;

struct NewEvent {
  std::string_view id;
  Priority priority = Priority::kNormal;
  int64_t accepted_at_unix_ms = 0;
  std::string_view value;
  std::string_view traceparent;
  RecipientSet recipients = {};                     // all it has, for its status; empty = not known
  std::span<const uint64_t> recipient_hashes = {};  // theirs, likewise: see StatusRecord
};

// What is published in one go.
struct Publication {
  std::span<const NewEvent> events;  // at least one
  // Of a client that names its request, so that it may repeat it: the request's id, and a digest of what it asked for.
  // A request that is known is not published again. Empty: nothing is remembered.
  std::string_view request_id = {};
  std::string_view digest = {};
};

// Thread-safe. Outlives its ShardQueues' use; destroyed after Stop.
class Queue {
 public:
  virtual ~Queue() = default;

  // Gets events into the queue, SQLite: all or none. `done` is called exactly once, from a thread of the queue or
  // before Publish returns: success means all are durable (Kafka: acknowledged by all in-sync replicas; SQLite:
  // fdatasync has returned), now or since an earlier request of that id; kConflict that the request's id is known with
  // another digest and nothing was done; kUncertain that some may be in, kUnavailable that none is. An error returned
  // here (queue full, too large) means that none is and `done` is never called. The views are read before Publish
  // returns.
  //
  // Requests are remembered for 24 h: SQLite in its file, Kafka in this process's memory, the last 100 000. What
  // another process published there under an id that is a UUIDv5 begins no turn a second time.
  virtual Status Publish(const Publication& publication, std::function<void(const Status&)> done) = 0;
  Status Publish(const NewEvent& event, std::function<void(const Status&)> done) {
    return Publish(Publication{.events = {&event, 1}}, std::move(done));
  }

  // Takes back the email of this id: what of it no transport has passed its point of no return with is not sent any
  // more, however often it comes, and neither is anything else of this id. Success: that is durable, like a published
  // event, and every host is about to know; what had passed that point meanwhile is told by the email's status. Again:
  // the same. kConflict: nothing of it waits any more; kNotFound: there is no such email. Only SQLite knows these, and
  // ends what waits in its file before `done` if it is the host's. `done` and errors returned here as with Publish.
  // REQUIRES: IsValidId(id).
  virtual Status Cancel(std::string_view id, std::function<void(const Status&)> done) = 0;
  // What a host must not send. Complete from the first turn on, as far as it was durable then.
  virtual const Cancellations& cancellations() const = 0;

  // Begins consuming with one shard a wake fd (an eventfd, written when Next may have news or turns were revoked).
  // REQUIRES: opened with Role::kHost; called once.
  virtual Status StartConsuming(const std::vector<int>& wake_fds) = 0;
  // REQUIRES: StartConsuming succeeded. Valid until the Queue is destroyed.
  virtual ShardQueue& shard(size_t index) = 0;

  // Next yields nothing more; turns under way may end.
  virtual void StopConsuming() = 0;
  // Stop is for good: others need not wait for this host to come back. REQUIRES: before Stop.
  virtual void LeaveOnStop() {}
  // Makes all durable that ended, hands the rest back, closes. Returns by the deadline; true = everything was flushed.
  // REQUIRES: the shards' threads have ended, so that no turn is touched any more.
  virtual bool Stop(int64_t deadline_boot_ms) = 0;

  // Consuming (or publishing, in the API role) works as far as is known.
  virtual Status Health() const = 0;
  virtual QueueStats Stats() const = 0;
  virtual std::string Description() const = 0;  // for the banner: "kafka localhost:9093 topic email-queue group g"
};

enum class Role : uint8_t {
  kProducer,  // Publish and Cancel only: API, CLI
  kHost,      // consumes; may publish, too
};

// Opens the configured backend. Errors say what to do (e.g. which host holds the SQLite file, `postbus topics create`).
Result<std::unique_ptr<Queue>> OpenQueue(const QueueConfig& config, Role role, QueueLog log);

}  // namespace postbus
