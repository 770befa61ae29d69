// queue/kafka/delay_service.h - brings deferred events back when they are due. Never early; late by a second at most
// while it keeps up.
//
// A client of its own in the group `<group>-delay`, so that parked mail is neither lag of the queue nor memory of its
// fetches. In a delay topic all records wait the same step, so the head of a partition is the next to go: at its due
// time back to the topic of its priority, or, when more than 5 s are still to wait, to the largest delay topic that
// fits. The last 5 s wait in memory, as does everything in the 5s topic, whose records have due times in any order.
//
// At most once: a record is claimed before its next copy is written. Found claimed and not done, it is dead-lettered.
//
// A record is done here when its next copy is stored; partitions, maps and commits are those of the queue. Control
// thread of its GroupConsumer, delivery reports on the producer's thread; the other functions are called by its owner's
// thread.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "queue/kafka/group_consumer.h"
#include "queue/kafka/outgoing.h"
#include "queue/kafka/record_producer.h"

namespace postbus::kafka {

class DelayService final : private GroupConsumer::Owner {
 public:
  // `copies` is stopped before this is destroyed.
  DelayService(const KafkaConfig& config, bool at_most_once, const std::string& instance_id, RecordProducer& copies,
               QueueLog log);

  Status Start() { return consumer_.Start(); }
  // Moves nothing more. What is on its way may still be stored and committed.
  void StopMoving() { moving_ = false; }
  void BeginStop(int64_t deadline_boot_ms, bool leave) { consumer_.BeginStop(deadline_boot_ms, leave); }
  bool Stopped() { return consumer_.Stopped(); }

  Status Health() const { return consumer_.Health(); }
  int64_t waiting() const { return consumer_.backlog(); }
  int64_t stopped_partitions() const { return consumer_.stopped(); }
  uint64_t dead_lettered() const { return counters_.dead_lettered.load(); }

 private:
  struct Parked {
    PartitionPtr partition;
    int64_t wake_unix_ms = 0;  // when to look at it again
    Source source;
    Record record;
    size_t bytes = 0;  // in memory, as counted in bytes_

    int64_t due() const { return source.headers.due_unix_ms; }
  };
  struct Lane {
    PartitionPtr partition;
    size_t step;
    std::optional<Parked> head;
  };
  // A record on its way out; done when all its copies are stored. One thread, the producer's, counts them.
  struct Departure {
    PartitionPtr partition;
    Source source;
    size_t bytes;
    int copies_left;
    bool alarmed = false;
  };

  void OnAssigned(const PartitionList& partitions) override;
  void OnRevoking(const PartitionList& partitions) override;
  void OnClaimed(const PartitionPtr& partition) override;
  void OnClosed(const PartitionList& partitions) override;
  int OnTick() override;

  std::optional<Parked> Take(Lane& lane, int64_t now);
  void Look(Parked parked, int64_t now);
  void Depart(Parked parked, std::string to_topic);
  void WriteEvent(Parked parked, std::string to_topic);
  void DepartDead(Parked parked, std::string_view outcome_class, std::string_view message);
  static std::shared_ptr<Departure> BeginDeparture(Parked parked, int copies);
  void Write(const std::shared_ptr<Departure>& departure, CopyKind kind, Record record);
  RecordProducer::After OnAnswer(const std::shared_ptr<Departure>& departure, CopyKind kind, const Status& status,
                                 const RecordBack& record);

  const TopicNames names_;
  const std::string group_;
  const bool at_most_once_;
  RecordProducer& copies_;
  const QueueLog log_;
  Counters counters_;
  std::atomic<bool> moving_{true};
  std::atomic<size_t> bytes_{0};  // of what is in memory

  // The control thread's.
  std::vector<Lane> lanes_;
  std::multimap<int64_t, Parked> waiting_;  // by wake_unix_ms
  struct Leaving {
    Parked parked;
    std::string to_topic;
  };
  std::map<uint64_t, Leaving> leaving_;  // once their claim is durable; by its ticket
  uint64_t last_ticket_ = 0;

  GroupConsumer consumer_;  // last: its thread ends first
};

}  // namespace postbus::kafka
