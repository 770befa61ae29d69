// queue/kafka/kafka_shard.h - one shard's face of the queue: takes records from its partitions by weight, keeps the
// turns under way, and ends them when their copies are stored.
//
// ShardQueue's functions: the shard's thread. Add, Revoke, Remove: the control thread. Delivery reports of copies come
// on the producers' threads. Outlives the producers and the GroupConsumer.
//
// A turn outlives the assignment of its partition. When the partition comes back here first, the record is fetched
// again while its old turn may still be running, past its point of no return even. It is not begun a second time: the
// old turn moves over to the new assignment, and its end settles the record there. Should it be abandoned instead, the
// record is yielded from what was fetched. A turn that ends before its record was fetched again is remembered until
// then. Where the partition went to another host, the end of the turn changes nothing.
//
// At most once: a deferred or forwarded copy is a mail that will be sent, so it is written under a durable claim, too,
// and held until the turn has one. If the partition is closed before that, the copy is dropped and the event begins
// again elsewhere.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <tuple>
#include <vector>

#include "queue/kafka/counters.h"
#include "queue/kafka/keyed_events.h"
#include "queue/kafka/outgoing.h"
#include "queue/kafka/partition.h"
#include "queue/kafka/record_producer.h"
#include "queue/queue.h"

namespace postbus::kafka {

class KafkaShard final : public ShardQueue {
 public:
  struct Shared {  // by all shards of a queue; outlives them
    const TopicNames names;
    const std::string group;
    RecordProducer& copies;
    RecordProducer& status;
    Counters& counters;
    const QueueLog log;
    const bool at_most_once;
    KeyedEvents* keyed = nullptr;  // null: the file cannot be had, and repeated events are not known
    std::atomic<bool> consuming{true};
    std::atomic<bool> knows_cancellations{false};  // no turn begins before; the shards are woken then
    std::atomic<double> group_share{1};
  };

  KafkaShard(int wake_fd, Shared& shared) : wake_fd_(wake_fd), shared_(shared) {}

  using ShardQueue::Next;
  bool Next(QueuedEvent& out, Which which) override;
  void Defer(TurnId turn, const DeferredCopy& copy) override;
  void DeadLetter(TurnId turn, const DeadLetterCopy& copy) override;
  void Report(TurnId turn, const StatusRecord& record) override;
  void Complete(TurnId turn) override;
  bool Forward(TurnId turn, Priority to, std::string_view value) override;
  void Abandon(TurnId turn) override;
  void TakeRevoked(std::vector<TurnId>& turns) override;
  void Claim(TurnId turn) override;
  void Unclaim(TurnId turn) override;
  void TakeClaimed(std::vector<TurnId>& turns) override;
  double GroupShare() const override { return shared_.group_share.load(std::memory_order_relaxed); }
  void Flush() override {}  // the producers' threads send at once

  void Add(const PartitionPtr& partition);
  // The partition's turns should end: TakeRevoked will name them.
  void Revoke(const PartitionPtr& partition);
  void Remove(const PartitionPtr& partition);
  // Claims of its turns have become durable.
  void OnClaimed(const PartitionPtr& partition);

  // More is known of events with a key.
  void OnKeyNews();

  int wake_fd() const { return wake_fd_; }
  void Wake();
  // Turns that have not ended, those waiting for their copies included.
  size_t open_turns() const;
  // Copies wait for a claim.
  bool holds_copies() const;

 private:
  enum class Claimed : uint8_t { kNo, kAsked, kDurable, kByAnother };

  struct Turn {
    PartitionPtr partition;  // null: the slot is free
    PartitionPtr permit_of;  // whose permit the host was given
    uint32_t generation = 0;
    TurnMarks marks;
    Source source;
    int copies_on_the_way = 0;
    bool ended = false;
    bool revocation_told = false;
    bool keyed = false;  // it was judged, see keyed_events.h
    std::unique_ptr<QueuedEvent> fetched_again;
    Claimed claim = Claimed::kNo;
    bool host_waits_for_claim = false;
    std::vector<Copy> held;  // copies that wait for it
    bool deferred = false;   // copies were written
    bool copies_dropped = false;
  };
  using Slot = uint32_t;
  using RecordPlace = std::tuple<std::string, int32_t, int64_t>;
  struct CopyReport;  // what a producer calls when it knows what became of a copy

  // The partitions of one priority; one is read until it has nothing, for up to kStay events.
  struct Lane {
    PartitionList partitions;
    size_t current = 0;
    int stayed = 0;
    int skip = 0;  // found empty: not looked at for so many events of others
  };

  bool TakeFrom(Lane& lane, Partition::Taken& taken, PartitionPtr& partition);
  bool TakeRecord(Which which, Partition::Taken& taken, PartitionPtr& partition, Priority& priority);
  // False if the record is not the host's to see.
  bool BeginTurn(const Partition::Taken& taken, const PartitionPtr& partition, Priority priority, QueuedEvent& out);
  static void Fill(const rd_kafka_message_t& message, const Source& source, Priority priority, QueuedEvent& out);
  bool YieldAgain(QueuedEvent& out);
  // False: it waits, or is repeated and its turn over. REQUIRES: `out` has the event.
  bool MayBeSent(Slot slot, Turn& turn, QueuedEvent& out);
  void JudgeParked();
  void DropRepeated(Slot slot, Turn& turn);
  Slot NewSlot();
  Turn& Find(TurnId id);
  static TurnId IdOf(Slot slot, const Turn& turn) { return uint64_t{turn.generation} << 32 | slot; }
  static Slot SlotOf(TurnId id) { return static_cast<Slot>(id & 0xFFFFFFFF); }

  void AddCopy(TurnId id, Turn& turn, CopyKind kind, Record record);
  void AddEventCopy(TurnId id, Turn& turn, Copy copy);
  void AskClaim(TurnId id, Turn& turn);
  void OnDurableClaim(TurnId id, Turn& turn);
  void TakeClaimBack(TurnId id, Turn& turn);
  // The turn of a record that the host does not see: dead-lettered with its status record.
  void SettleUnseen(TurnId id, Turn& turn, std::string_view outcome_class, std::string_view message,
                    std::string_view value);
  RecordProducer::After OnCopyAnswer(CopyReport& report, const Status& status, const RecordBack& record);
  // True if there may be news for the shard by it.
  bool EndIfDone(Slot slot, Turn& turn);
  void Free(Slot slot, Turn& turn);
  void DropFetchedAgain(const PartitionPtr& partition);

  const int wake_fd_;
  Shared& shared_;
  std::atomic<bool> revocation_news_{false};
  std::atomic<bool> key_news_{false};

  // Guards what follows. Partitions' and producers' own locks are taken inside it.
  mutable std::mutex mutex_;
  std::array<Lane, kPriorities> lanes_;
  size_t schedule_at_ = 0;
  std::deque<Turn> turns_;
  std::vector<Slot> free_;
  std::map<RecordPlace, Slot> orphans_;           // turns under way whose partition is closed
  std::map<RecordPlace, int64_t> ended_orphans_;  // accepted-at: a topic made anew has other records at their places
  // Turns whose event is in `fetched_again` and that nobody has; they do not count as their partition's turns.
  std::deque<Slot> again_;   // to be yielded: fetched again, abandoned by the old turn; or parked and judged
  std::deque<Slot> parked_;  // not judged yet
  size_t parked_bytes_ = 0;
  std::vector<TurnId> claimed_;  // for the host, which waits for them
};

}  // namespace postbus::kafka
