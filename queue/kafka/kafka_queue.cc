#include "queue/kafka/kafka_queue.h"

#include <algorithm>
#include <mutex>
#include <optional>

#include "event/clock.h"
#include "queue/kafka/counters.h"
#include "queue/kafka/delay_service.h"
#include "queue/kafka/group_consumer.h"
#include "queue/kafka/instance_id.h"
#include "queue/kafka/journals.h"
#include "queue/kafka/kafka_shard.h"
#include "queue/kafka/outgoing.h"
#include "queue/kafka/recent_requests.h"
#include "queue/kafka/record_producer.h"
#include "queue/kafka/topics.h"

namespace postbus::kafka {
namespace {

constexpr int kTickMs = 10;
constexpr int64_t kMaxCloseMs = 3'000;  // kept back of the time to stop, for the last commit and the close

Status CheckFrom(const std::string& from) {
  if (from.empty() || from == "earliest" || from == "latest" || ParseRfc3339(from) >= 0) return {};
  return Status::Invalid("--from takes earliest, latest or a time like 2025-12-25T20:00:00Z");
}

// Waits for what becomes of each event of a publication. Any thread.
class Gathering {
 public:
  Gathering(size_t events, std::function<void(const Status&)> done)
      : left_(events), all_(events), done_(std::move(done)) {}

  void Add(const Status& stored) {
    {
      const std::lock_guard lock(mutex_);
      if (stored.ok()) {
        ++stored_;
      } else if (failure_.ok() || stored.kind() == ErrorKind::kUncertain) {
        failure_ = Status(stored.kind(), std::string(stored.message()));
      }
      if (--left_ > 0) return;
    }
    if (!failure_.ok() && stored_ > 0) {
      failure_ = Status::Uncertain(std::to_string(stored_) + " of " + std::to_string(all_) +
                                   " events are stored: " + std::string(failure_.message()));
    }
    done_(failure_);
  }

 private:
  std::mutex mutex_;
  size_t left_;
  const size_t all_;
  size_t stored_ = 0;
  Status failure_;
  const std::function<void(const Status&)> done_;
};

class KafkaQueue final : public Queue, private GroupConsumer::Owner {
 public:
  KafkaQueue(const QueueConfig& config, Role role, QueueLog log)
      : config_(config), role_(role), log_(std::move(log)), names_(config.kafka) {}
  ~KafkaQueue() override { Stop(BootTimeMs()); }

  Status Open();

  Status Publish(const Publication& publication, std::function<void(const Status&)> done) override;
  Status StartConsuming(const std::vector<int>& wake_fds) override;
  ShardQueue& shard(size_t index) override { return *shards_.at(index); }
  void StopConsuming() override;
  void LeaveOnStop() override { leave_ = true; }
  bool Stop(int64_t deadline_boot_ms) override;
  Status Health() const override;
  QueueStats Stats() const override;
  std::string Description() const override;

 private:
  Status PublishEvents(std::span<const NewEvent> events, std::function<void(const Status&)> done);
  void OnAssigned(const PartitionList& partitions) override;
  void OnRevoking(const PartitionList& partitions) override;
  void OnClosed(const PartitionList& partitions) override;
  int OnTick() override;
  KafkaShard& ShardOf(int32_t partition) { return *shards_[static_cast<size_t>(partition) % shards_.size()]; }

  const QueueConfig config_;
  const Role role_;
  const QueueLog log_;
  const TopicNames names_;
  Counters counters_;
  RecentRequests requests_;

  // Ended from the last to the first: consumers, then producers, then what their callbacks use.
  std::unique_ptr<KafkaShard::Shared> shared_;
  std::vector<std::unique_ptr<KafkaShard>> shards_;
  std::optional<InstanceId> instance_;
  std::unique_ptr<Journals> journals_;
  std::unique_ptr<RecordProducer> publisher_;
  std::unique_ptr<RecordProducer> copies_;
  std::unique_ptr<RecordProducer> status_;
  std::unique_ptr<DelayService> delay_;
  std::unique_ptr<GroupConsumer> consumer_;
  bool leave_ = false;
  bool stopped_ = false;
};

Status KafkaQueue::Open() {
  if (Status status = CheckPassedOn(config_.kafka); !status.ok()) return status;
  if (Status status = CheckFrom(config_.kafka.from); !status.ok()) return status;
  // Producers, too: the first record to a missing topic might make one with the broker's defaults.
  std::vector<std::string> created;
  if (Status status = CreateTopics(config_.kafka, TopicTable(config_.kafka), created); !status.ok()) return status;
  for (const std::string& topic : created) log_(LogLevel::kInfo, "made the topic " + topic);

  const std::vector<std::string> events(names_.events.begin(), names_.events.end());
  std::vector<std::string> copies = events;
  copies.insert(copies.end(), names_.delays.begin(), names_.delays.end());
  copies.insert(copies.end(), {names_.dead_letters, names_.status});
  const auto open = [this](ProducerKind kind, std::vector<std::string> topics,
                           std::unique_ptr<RecordProducer>& producer) {
    Result<std::unique_ptr<RecordProducer>> opened = RecordProducer::Open(config_.kafka, kind, std::move(topics), log_);
    if (opened.ok()) producer = std::move(*opened);
    return opened.TakeStatus();
  };
  Status status = open(ProducerKind::kPublish, events, publisher_);
  if (status.ok() && role_ == Role::kHost) status = open(ProducerKind::kCopies, copies, copies_);
  if (status.ok() && role_ == Role::kHost) status = open(ProducerKind::kStatus, {names_.status}, status_);
  return status;
}

Status KafkaQueue::Publish(const Publication& publication, std::function<void(const Status&)> done) {
  for (const NewEvent& event : publication.events) {
    if (event.value.size() <= config_.max_event_bytes) continue;
    return Status::Invalid("the event has " + std::to_string(event.value.size()) + " bytes, the queue takes " +
                           std::to_string(config_.max_event_bytes) + " (limits.max_event)");
  }
  // It would be tried for two minutes, and nobody waits so long.
  if (Status reachable = publisher_->Health(); !reachable.ok()) return reachable;
  if (publication.request_id.empty()) return PublishEvents(publication.events, std::move(done));

  switch (requests_.Begin(publication.request_id, publication.digest, UnixTimeMs(), done)) {
    case RecentRequests::Fate::kNew:
      break;
    case RecentRequests::Fate::kAccepted:
      done({});
      return {};
    case RecentRequests::Fate::kWaits:
      return {};
    case RecentRequests::Fate::kConflict:
      done(Status::Conflict("the request's key was used before, with another body"));
      return {};
  }
  Status taken =
      PublishEvents(publication.events, [this, id = std::string(publication.request_id), done](const Status& stored) {
        requests_.End(id, stored);
        done(stored);
      });
  if (!taken.ok()) requests_.End(publication.request_id, taken);
  return taken;
}

Status KafkaQueue::PublishEvents(std::span<const NewEvent> events, std::function<void(const Status&)> done) {
  const auto gathering = std::make_shared<Gathering>(events.size(), std::move(done));
  for (size_t i = 0; i < events.size(); ++i) {
    Status taken =
        publisher_->Produce(EventRecord(names_, events[i]), [this, gathering](const Status& stored, const RecordBack&) {
          Count(stored.ok() ? counters_.published : counters_.publish_failures);
          gathering->Add(stored);
          return RecordProducer::After::kDone;
        });
    if (taken.ok()) continue;
    Count(counters_.publish_failures, events.size() - i);
    if (i == 0) return taken;
    for (size_t left = i; left < events.size(); ++left) gathering->Add(taken);
    return {};
  }
  return {};
}

Status KafkaQueue::StartConsuming(const std::vector<int>& wake_fds) {
  Result<InstanceId> instance = InstanceId::Acquire(config_.state_dir);
  if (!instance.ok()) return instance.TakeStatus();
  instance_.emplace(std::move(*instance));
  shared_.reset(new KafkaShard::Shared{names_, config_.kafka.group_id, *copies_, *status_, counters_, log_});
  for (const int fd : wake_fds) shards_.push_back(std::make_unique<KafkaShard>(fd, *shared_));

  journals_ = std::make_unique<Journals>(config_.state_dir, config_.kafka.group_id, log_);
  delay_ = std::make_unique<DelayService>(config_.kafka, instance_->id(), *copies_, log_);
  GroupConsumer::Owner& owner = *this;
  consumer_ = std::make_unique<GroupConsumer>(
      GroupConsumer::Options{
          .config = config_.kafka,
          .group_id = config_.kafka.group_id,
          .instance_id = instance_->id(),
          .topics = {names_.events.begin(), names_.events.end()},
          .drained_topic = names_.cancellations,
          .fetch = {},
          .journal_of = [this](const std::string& topic, int32_t partition) { return journals_->Of(topic, partition); },
          .wake_fd_of = [this](int32_t partition) { return ShardOf(partition).wake_fd(); },
      },
      owner, counters_, log_);
  if (Status status = consumer_->Start(); !status.ok()) return status;
  return delay_->Start();
}

void KafkaQueue::OnAssigned(const PartitionList& partitions) {
  for (const PartitionPtr& partition : partitions) ShardOf(partition->number).Add(partition);
}

void KafkaQueue::OnRevoking(const PartitionList& partitions) {
  for (const PartitionPtr& partition : partitions) ShardOf(partition->number).Revoke(partition);
}

void KafkaQueue::OnClosed(const PartitionList& partitions) {
  for (const PartitionPtr& partition : partitions) ShardOf(partition->number).Remove(partition);
}

int KafkaQueue::OnTick() {
  // A host without partitions sends nothing, whatever its share.
  const auto all = static_cast<double>(consumer_->all_partitions());
  shared_->group_share = std::clamp(static_cast<double>(consumer_->assigned()) / all, 1 / all, 1.0);
  return kTickMs;
}

void KafkaQueue::StopConsuming() {
  if (shared_) shared_->consuming = false;
  if (delay_) delay_->StopMoving();
}

bool KafkaQueue::Stop(int64_t deadline_boot_ms) {
  if (std::exchange(stopped_, true)) return true;
  StopConsuming();
  const int64_t left = std::max<int64_t>(0, deadline_boot_ms - BootTimeMs());
  const int64_t flush_until = deadline_boot_ms - std::min(left / 3, kMaxCloseMs);
  bool flushed = true;
  for (RecordProducer* producer : {publisher_.get(), copies_.get(), status_.get()}) {
    if (producer != nullptr) flushed = producer->Flush(flush_until) && flushed;
  }
  if (consumer_) consumer_->BeginStop(deadline_boot_ms, leave_);
  if (delay_) delay_->BeginStop(deadline_boot_ms, leave_);
  if (consumer_) flushed = consumer_->Stopped() && flushed;
  if (delay_) flushed = delay_->Stopped() && flushed;
  if (journals_) journals_->Detach();
  for (RecordProducer* producer : {publisher_.get(), copies_.get(), status_.get()}) {
    if (producer != nullptr) producer->Stop();
  }
  return flushed;
}

Status KafkaQueue::Health() const {
  Status status = publisher_->Health();
  if (status.ok() && consumer_) status = consumer_->Health();
  if (status.ok() && delay_) status = delay_->Health();
  return status;
}

QueueStats KafkaQueue::Stats() const {
  QueueStats stats;
  stats.published = counters_.published;
  stats.publish_failures = counters_.publish_failures;
  stats.consumed = counters_.consumed;
  stats.completed = counters_.completed;
  stats.deferred = counters_.deferred;
  stats.dead_lettered = counters_.dead_lettered;
  stats.commits = counters_.commits;
  stats.commit_failures = counters_.commit_failures;
  stats.offset_maps_ignored = counters_.offset_maps_ignored;
  stats.rebalances = counters_.rebalances;
  stats.waiting = stats.delayed = -1;
  if (consumer_) {
    stats.waiting = consumer_->waiting();
    stats.assigned_partitions = consumer_->assigned();
    stats.stopped_partitions = consumer_->stopped();
  }
  if (delay_) {
    stats.delayed = delay_->waiting();
    stats.dead_lettered += delay_->dead_lettered();
    stats.stopped_partitions += delay_->stopped_partitions();
  }
  return stats;
}

std::string KafkaQueue::Description() const {
  std::string text = "kafka " + config_.kafka.brokers + " topic " + config_.kafka.topic;
  if (role_ == Role::kHost) text += " group " + config_.kafka.group_id;
  return text;
}

}  // namespace

Result<std::unique_ptr<Queue>> OpenKafkaQueue(const QueueConfig& config, Role role, QueueLog log) {
  auto queue = std::make_unique<KafkaQueue>(config, role, std::move(log));
  if (Status status = queue->Open(); !status.ok()) return status;
  return std::unique_ptr<Queue>(std::move(queue));
}

}  // namespace postbus::kafka
