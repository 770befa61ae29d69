// queue/kafka/group_consumer.h - one member of a consumer group: assignments with their committed offsets and maps,
// commits, permits. What is done with the records is its Owner's.
//
// One thread of its own (the control thread) polls, runs rebalances, commits and calls the Owner. Everything else is
// called by the thread that made it. The Owner outlives it.
//
// A rebalance is eager: all partitions are revoked, then the new ones assigned. On revocation the Owner ends its turns
// (up to 5 s), what is done is committed with the maps, and then the partitions are closed. Of lost ones nothing is
// committed: another member has them. A completion that comes for a closed partition changes nothing; the record begins
// again where the partition is now. A member whose group.instance.id was fenced joins again with another one.
//
// Commits: every 50 ms when there is something to say, 5 ms when somebody waits for a claim, one at a time, for each
// partition base and map of one snapshot. A commit vouches only for what is done, so that a late one does no harm.
//
// Permits last 5 s (half a session) from the last poll. They end at once while more than 1 000 completions of the
// partition are uncommitted and while commits have had no answer for 10 s. After the thread has slept for more than 5 s
// they are not extended before the broker has accepted a commit again, which it does only from a member of the current
// generation.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "queue/kafka/counters.h"
#include "queue/kafka/kafka_config.h"
#include "queue/kafka/partition.h"
#include "queue/kafka/rdkafka_handles.h"

namespace postbus::kafka {

class GroupConsumer {
 public:
  class Owner {
   public:
    virtual ~Owner() = default;

    // All on the control thread.
    // The fetch of these begins when this returns.
    virtual void OnAssigned(const PartitionList& partitions) = 0;
    // They end: their permits are void and Take yields nothing more. Name the turns to be ended, do not wait.
    virtual void OnRevoking(const PartitionList& partitions) = 0;
    // Claims of these have become durable: Partition::TakeClaimed.
    virtual void OnClaimed(const PartitionPtr& partition) = 0;
    // They are closed.
    virtual void OnClosed(const PartitionList& partitions) = 0;
    // Returns in how many milliseconds it wants to be called again, at the latest.
    virtual int OnTick() = 0;
  };

  struct Options {
    KafkaConfig config;
    std::string group_id;
    std::string instance_id;
    std::vector<std::string> topics;
    // All of its partitions are fetched and dropped at once. Without one partition that is always hungry, librdkafka
    // 2.0.2 sleeps for up to a second when all fetch queues of a broker are full.
    std::string drained_topic;
    FetchSettings fetch;
    // A partition's journal, or null; an error: the partition must not start. May be empty.
    std::function<Result<std::shared_ptr<Journal>>(const std::string&, int32_t)> journal_of;
    // Makes the fetch queue write to this eventfd when it gets its first record; -1 = none. Of a partition number.
    std::function<int(int32_t)> wake_fd_of;
  };

  GroupConsumer(Options options, Owner& owner, Counters& counters, QueueLog log);
  ~GroupConsumer();
  GroupConsumer(const GroupConsumer&) = delete;
  GroupConsumer& operator=(const GroupConsumer&) = delete;

  // Refuses where records would be skipped or repeated: no committed offset on a topic used before, and no `from`.
  Status Start();
  // Takes no more, commits, closes, ends the thread: all by the deadline. A static member does not leave the group by
  // that: its partitions wait for it as long as its session lasts. With `leave` it does.
  void BeginStop(int64_t deadline_boot_ms, bool leave = false);
  // Waits for that. True if all that was done is committed.
  bool Stopped();

  Status Health() const;

  // Sums over the assigned partitions, refreshed twice a second.
  int64_t waiting() const { return waiting_.load(); }
  int64_t backlog() const { return backlog_.load(); }
  int64_t assigned() const { return assigned_count_.load(); }
  // All there are of the topics, for whichever member.
  int64_t all_partitions() const { return all_partitions_; }
  int64_t stopped() const { return stopped_count_.load(); }

 private:
  using TopicPartition = std::pair<std::string, int32_t>;

  struct StartingPoint {
    std::string topic;
    int32_t partition = 0;
    OffsetMap map;
    MapVerdict verdict = MapVerdict::kEmpty;
    bool committed = false;
    std::string refusal;  // not empty: it must not start, since records would be skipped or repeated
  };

  static void OnRebalance(rd_kafka_t* client, rd_kafka_resp_err_t error, rd_kafka_topic_partition_list_t* partitions,
                          void* opaque);

  Result<std::vector<TopicPartition>> PartitionsOf(const std::vector<std::string>& topics);
  Result<std::vector<StartingPoint>> FindStarts(const std::vector<TopicPartition>& partitions);
  void ChooseWithoutCommit(LogRange log, StartingPoint& start);
  // The offset of the first record at or after a time; RD_KAFKA_OFFSET_BEGINNING and _END for the log's range.
  Result<std::vector<int64_t>> OffsetsAt(const std::vector<TopicPartition>& partitions, int64_t time);

  Status MakeClient();
  Status Subscribe();
  void Run();
  void Poll(int timeout_ms);
  void BeginAnew();
  void Assign(const rd_kafka_topic_partition_list_t& partitions);
  void Revoke(bool lost);
  void Commit(int64_t now);
  void CommitWhenDue(int64_t now);
  bool ClaimsWait() const;
  // Waits up to `timeout_ms` for an answer and takes what is there.
  void ServeCommitAnswers(int timeout_ms);
  void TakeCommitAnswer(rd_kafka_event_t* answer);
  // Commits until nothing is left to say; false at the deadline.
  bool CommitAll(int64_t deadline_boot_ms);
  void ExtendPermits(int64_t now);
  void RefreshGauges();
  void Leave();
  void Close();
  void DestroyClient();

  const Options options_;
  Owner& owner_;
  Counters& counters_;
  const QueueLog log_;
  ClientContext context_;

  std::string instance_id_;  // after it was fenced another one than the options'
  rd_kafka_t* client_ = nullptr;
  QueuePtr commit_answers_;
  std::thread thread_;
  std::atomic<int64_t> stop_deadline_{0};  // not 0: stop by then
  std::atomic<bool> leave_{false};         // set before
  std::atomic<bool> stopped_cleanly_{false};

  int64_t all_partitions_ = 1;  // since Start

  // The control thread's.
  std::vector<TopicPartition> drained_;
  std::set<std::string> topics_with_commits_;
  PartitionList assigned_;
  int64_t refused_ = 0;                                          // assigned to us and not begun, with an alarm
  std::vector<std::pair<PartitionPtr, Snapshot>> under_commit_;  // empty: none on its way
  int64_t commit_at_ = 0;                                        // not before
  int64_t commit_wanted_since_ = 0;                              // 0: nothing to commit
  int64_t last_commit_answer_ = 0;
  int64_t last_loop_ = 0;
  int64_t gauges_at_ = 0;
  bool commit_fenced_ = false;  // the broker no longer takes this member's commits
  bool closing_ = false;

  std::atomic<int64_t> last_poll_{0};
  std::atomic<bool> commits_hang_{false};
  std::atomic<bool> lost_{false};  // all partitions, and none were assigned since
  std::atomic<int64_t> waiting_{-1};
  std::atomic<int64_t> backlog_{-1};
  std::atomic<int64_t> assigned_count_{0};
  std::atomic<int64_t> stopped_count_{0};
};

}  // namespace postbus::kafka
