#include "queue/kafka/status_follower.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <filesystem>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <thread>
#include <unordered_map>

#include "event/clock.h"
#include "queue/kafka/cancellation_follower.h"
#include "queue/kafka/log_reader.h"
#include "queue/kafka/status_store.h"
#include "queue/kafka/topics.h"

namespace postbus::kafka {
namespace {

constexpr int kAskMs = 3000;
constexpr int64_t kLookBackMs = 86'400'000;
constexpr int64_t kGatherMs = 100;   // records that come within this time are one transaction
constexpr size_t kGatherMax = 2000;  // at most
constexpr int64_t kAgainAfterMs = 1000;
constexpr size_t kMaxNoted = 100'000;

StoredStatus OwnStatus(const StatusRecord& record) {
  StoredStatus stored{StoredStatus::kOwn, 0, record.id, record.at_unix_ms, {}, record.recipient_hashes};
  EncodeStatus(record, stored.record);
  return stored;
}

class StatusFollower final : public StatusHistory {
 public:
  StatusFollower(const QueueConfig& config, std::unique_ptr<StatusStore> store, QueueLog log)
      : config_(config.kafka),
        topic_(TopicNames(config.kafka).status),
        store_(std::move(store)),
        log_(std::move(log)),
        cancellation_follower_(config.kafka, cancellations_, log_, [] {}) {}

  ~StatusFollower() override {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    stop_changed_.notify_all();
    if (thread_.joinable()) thread_.join();
  }

  Status Start() {
    Result<std::unique_ptr<LogReader>> reader = LogReader::Open(config_, "status", {}, log_);
    if (!reader.ok()) return reader.TakeStatus();
    reader_ = std::move(*reader);
    if (Status started = cancellation_follower_.Start(); !started.ok()) return started;
    thread_ = std::thread([this] { Run(); });
    return {};
  }

  Result<std::vector<StatusRecord>> Find(std::string_view id) override {
    // First what is on its way into the file: it may be there before we look, never in neither.
    std::optional<StatusRecord> queued;
    {
      const std::lock_guard lock(mutex_);
      if (const auto found = noted_.find(std::string(id)); found != noted_.end()) queued = found->second;
    }
    Result<std::vector<StatusRecord>> found = store_->Find(id);
    if (queued && !found.ok() && found.status().kind() == ErrorKind::kNotFound) {
      return std::vector<StatusRecord>{std::move(*queued)};
    }
    if (queued && found.ok() && found->front().change != Change::kQueued) found->insert(found->begin(), *queued);
    if (!found.ok() && found.status().kind() == ErrorKind::kNotFound && !caught_up_) return StillReading();
    if (const int64_t requested = cancellations_.RequestedAt(id); found.ok() && requested != 0) {
      AddForeseenCancellation(requested, *found);  // in a delay topic nobody looks at it before its time
    }
    return found;
  }

  // What this process accepted within the last moments may not be among them.
  Result<std::vector<std::string>> IdsTo(uint64_t recipient_hash, size_t limit) override {
    if (!caught_up_) return StillReading();
    return store_->IdsTo(recipient_hash, limit);
  }

  void NoteQueued(std::span<const StatusRecord> records) override {
    const std::lock_guard lock(mutex_);
    if (noted_.size() >= kMaxNoted) return;  // the disk takes nothing; what a host reports is written later
    for (const StatusRecord& record : records) noted_.emplace(record.id, record);
  }

 private:
  Status StillReading() const {
    return Status::Unavailable("the topic " + topic_ + " is still being read; ask again in a while");
  }

  void Run() {
    while (!Begin()) {
      if (!SleepUnlessStopping(kAgainAfterMs)) return;
    }
    std::vector<StoredStatus> gathered;
    do {
      Gather(gathered);
      const std::vector<std::string> own = AddNoted(gathered);
      while (!gathered.empty()) {
        const Status written = store_->Write(gathered);
        if (written.ok()) break;
        log_(LogLevel::kWarning, written.message());
        if (!SleepUnlessStopping(kAgainAfterMs)) return;
      }
      gathered.clear();
      if (behind_.empty()) caught_up_ = true;
      const std::lock_guard lock(mutex_);
      for (const std::string& id : own) noted_.erase(id);
    } while (SleepUnlessStopping(0));
  }

  // Finds where to begin and begins there. False: the cluster did not answer.
  bool Begin() {
    const Result<int> counted = reader_->PartitionCount(topic_, kAskMs);
    const Result<std::map<int32_t, int64_t>> stored = store_->NextOffsets();
    if (!counted.ok() || !stored.ok()) return false;
    const int partitions = *counted;

    // The ends before the times: what is written in between must not be taken for old.
    std::vector<int64_t> low(static_cast<size_t>(partitions));
    std::vector<int64_t> high(static_cast<size_t>(partitions));
    const OffsetListPtr list(rd_kafka_topic_partition_list_new(partitions));
    for (int32_t i = 0; i < partitions; ++i) {
      const auto at = static_cast<size_t>(i);
      if (rd_kafka_query_watermark_offsets(reader_->client(), topic_.c_str(), i, &low[at], &high[at], kAskMs) !=
          RD_KAFKA_RESP_ERR_NO_ERROR) {
        return false;
      }
      rd_kafka_topic_partition_list_add(list.get(), topic_.c_str(), i)->offset = UnixTimeMs() - kLookBackMs;
    }
    if (rd_kafka_offsets_for_times(reader_->client(), list.get(), kAskMs) != RD_KAFKA_RESP_ERR_NO_ERROR) return false;
    for (int32_t i = 0; i < partitions; ++i) {
      if (list->elems[i].err != RD_KAFKA_RESP_ERR_NO_ERROR) return false;
      const int64_t end = high[static_cast<size_t>(i)];
      int64_t& offset = list->elems[i].offset;
      if (offset < 0) offset = end;  // nothing was that young
      offset = std::max({offset, low[static_cast<size_t>(i)], end - StatusStore::kMaxRecords / partitions});
      const auto next = stored->find(i);
      if (next != stored->end() && next->second <= end) offset = std::max(offset, next->second);
      if (offset < end) behind_.insert(i);
    }
    caught_up_ = behind_.empty();
    return reader_->Assign(list.get()).ok();
  }

  // Reads what comes within kGatherMs.
  void Gather(std::vector<StoredStatus>& gathered) {
    const int64_t deadline = BootTimeMs() + kGatherMs;
    for (int64_t now = BootTimeMs(); now < deadline && gathered.size() < kGatherMax; now = BootTimeMs()) {
      const MessagePtr message = reader_->Next(static_cast<int>(deadline - now));
      if (message == nullptr) return;
      if (message->err == RD_KAFKA_RESP_ERR_NO_ERROR) {
        Take(*message, gathered);
      } else if (message->err == RD_KAFKA_RESP_ERR__PARTITION_EOF) {
        behind_.erase(message->partition);
      }  // other errors pass; librdkafka logs them
    }
  }

  // What does not read as a status record may be of a newer postbus: kept for that one, by the record's key.
  void Take(const rd_kafka_message_t& message, std::vector<StoredStatus>& gathered) const {
    const std::string_view value(static_cast<const char*>(message.payload), message.len);
    const Result<StatusRecord> record = DecodeStatus(value);
    if (!record.ok()) {
      const std::string_view key(static_cast<const char*>(message.key), message.key_len);
      if (IsValidId(key))
        gathered.push_back({message.partition, message.offset, std::string(key), UnixTimeMs(), std::string(value)});
      return;
    }
    gathered.push_back({message.partition, message.offset, record->id, record->at_unix_ms, std::string(value),
                        record->recipient_hashes});
  }

  // Returns the ids of those that were added.
  std::vector<std::string> AddNoted(std::vector<StoredStatus>& gathered) {
    std::vector<std::string> ids;
    const std::lock_guard lock(mutex_);
    for (const auto& [id, record] : noted_) {
      gathered.push_back(OwnStatus(record));
      ids.push_back(id);
    }
    return ids;
  }

  // False: it is time to stop.
  bool SleepUnlessStopping(int64_t ms) {
    std::unique_lock lock(mutex_);
    stop_changed_.wait_for(lock, std::chrono::milliseconds(ms), [this] { return stopping_; });
    return !stopping_;
  }

  const KafkaConfig config_;
  const std::string topic_;
  const std::unique_ptr<StatusStore> store_;
  const QueueLog log_;
  std::unique_ptr<LogReader> reader_;
  Cancellations cancellations_;
  CancellationFollower cancellation_follower_;

  std::set<int32_t> behind_;            // the thread's: partitions that had records when it began, not read yet
  std::atomic<bool> caught_up_{false};  // behind_ is empty, and what was in it is in the file

  std::mutex mutex_;  // guards the rest
  std::condition_variable stop_changed_;
  bool stopping_ = false;
  std::unordered_map<std::string, StatusRecord> noted_;  // not in the file yet

  std::thread thread_;  // last: starts when all else is there
};

}  // namespace

Result<std::unique_ptr<StatusHistory>> FollowStatus(const QueueConfig& config, QueueLog log) {
  std::error_code error;
  std::filesystem::create_directories(config.state_dir, error);
  if (error) return Status::Unavailable("state_dir " + config.state_dir + ": " + error.message());
  const std::string path = (std::filesystem::path(config.state_dir) / (config.kafka.Prefix() + "-status.db")).string();
  Result<std::unique_ptr<StatusStore>> store = StatusStore::Open(path);
  if (!store.ok()) return store.TakeStatus();
  auto follower = std::make_unique<StatusFollower>(config, std::move(*store), std::move(log));
  if (Status started = follower->Start(); !started.ok()) return started;
  return std::unique_ptr<StatusHistory>(std::move(follower));
}

}  // namespace postbus::kafka
