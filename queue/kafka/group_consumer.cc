#include "queue/kafka/group_consumer.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <map>
#include <random>
#include <string_view>
#include <utility>

#include "event/clock.h"
#include "event/email_event.h"

namespace postbus::kafka {
namespace {

constexpr int kRequestMs = 5'000;
constexpr int64_t kStartMs = 30'000;  // a new cluster makes its offsets topic first
constexpr int64_t kRevokeMs = 5'000;
constexpr int64_t kFirstCommitMs = 2'000;  // afterwards it is tried again, and permits wait
constexpr int64_t kCommitIntervalMs = 50;
constexpr int64_t kClaimIntervalMs = 5;  // while mails wait for it
constexpr int64_t kCommitAgainMs = 200;
constexpr int64_t kCommitPatienceMs = 10'000;
constexpr uint64_t kMaxUncommitted = 1'000;
constexpr int64_t kPermitMs = kSessionTimeoutMs / 2;
constexpr int64_t kGaugesMs = 500;
constexpr int64_t kPollPatienceMs = 15'000;
constexpr int64_t kDestroyMs = 1'000;
constexpr int64_t kBeginAgainMs = 1'000;
constexpr int kPollMs = 10;
constexpr int kPollForClaimsMs = 1;  // while mails wait for a commit
constexpr int kMaxDrained = 1'000;   // at once

OffsetListPtr NewList(const std::vector<std::pair<std::string, int32_t>>& partitions) {
  OffsetListPtr list(rd_kafka_topic_partition_list_new(static_cast<int>(partitions.size())));
  for (const auto& [topic, partition] : partitions) {
    rd_kafka_topic_partition_list_add(list.get(), topic.c_str(), partition);
  }
  return list;
}

std::string NameOf(const std::string& topic, int32_t partition) {
  return topic + " [" + std::to_string(partition) + "]";
}

// The broker says that another member has the partitions, or had them meanwhile.
bool IsFenced(rd_kafka_resp_err_t error) {
  return error == RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION || error == RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID ||
         error == RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID || error == RD_KAFKA_RESP_ERR__FATAL;
}

}  // namespace

GroupConsumer::GroupConsumer(Options options, Owner& owner, Counters& counters, QueueLog log)
    : options_(std::move(options)),
      owner_(owner),
      counters_(counters),
      log_(std::move(log)),
      context_{&log_, this},
      instance_id_(options_.instance_id) {}

GroupConsumer::~GroupConsumer() {
  BeginStop(BootTimeMs() + 1000);
  Stopped();
  if (client_ != nullptr) Close();  // Start has failed
}

Status GroupConsumer::MakeClient() {
  const Properties ours = ConsumerProperties(options_.group_id, instance_id_, options_.fetch);
  Result<ConfPtr> conf = MakeConf(options_.config, ours, &context_);
  if (!conf.ok()) return conf.TakeStatus();
  rd_kafka_conf_set_rebalance_cb(conf->get(), OnRebalance);
  Result<rd_kafka_t*> client = NewClient(RD_KAFKA_CONSUMER, std::move(*conf));
  if (!client.ok()) return client.TakeStatus();
  client_ = *client;
  rd_kafka_poll_set_consumer(client_);
  commit_answers_.reset(rd_kafka_queue_new(client_));
  return {};
}

Status GroupConsumer::Subscribe() {
  OffsetListPtr subscription(rd_kafka_topic_partition_list_new(static_cast<int>(options_.topics.size())));
  for (const std::string& topic : options_.topics) {
    rd_kafka_topic_partition_list_add(subscription.get(), topic.c_str(), RD_KAFKA_PARTITION_UA);
  }
  const rd_kafka_resp_err_t error = rd_kafka_subscribe(client_, subscription.get());
  if (error == RD_KAFKA_RESP_ERR_NO_ERROR) return {};
  return Status::Internal(std::string("cannot subscribe: ") + rd_kafka_err2str(error));
}

Status GroupConsumer::Start() {
  if (Status made = MakeClient(); !made.ok()) return made;
  Result<std::vector<TopicPartition>> partitions = PartitionsOf(options_.topics);
  if (!partitions.ok()) return partitions.TakeStatus();
  all_partitions_ = std::max<int64_t>(1, static_cast<int64_t>(partitions->size()));
  Result<std::vector<TopicPartition>> drained = PartitionsOf({options_.drained_topic});
  if (!drained.ok()) return drained.TakeStatus();
  drained_ = std::move(*drained);

  const int64_t deadline = BootTimeMs() + kStartMs;
  Result<std::vector<StartingPoint>> starts = FindStarts(*partitions);
  while (!starts.ok() && BootTimeMs() < deadline) {  // a new client knows neither coordinator nor leaders at first
    std::this_thread::sleep_for(std::chrono::milliseconds(kPollMs));
    starts = FindStarts(*partitions);
  }
  if (!starts.ok()) return starts.TakeStatus();
  for (const StartingPoint& start : *starts) {
    if (start.refusal.empty()) continue;
    return Status::Invalid(NameOf(start.topic, start.partition) + ": " + start.refusal);
  }

  if (Status subscribed = Subscribe(); !subscribed.ok()) return subscribed;
  last_poll_ = last_loop_ = BootTimeMs();
  thread_ = std::thread([this] { Run(); });
  return {};
}

void GroupConsumer::BeginStop(int64_t deadline_boot_ms, bool leave) {
  int64_t running = 0;
  if (stop_deadline_ == 0) leave_ = leave;
  stop_deadline_.compare_exchange_strong(running, std::max<int64_t>(deadline_boot_ms, 1));
}

bool GroupConsumer::Stopped() {
  if (thread_.joinable()) thread_.join();
  return stopped_cleanly_;
}

Status GroupConsumer::Health() const {
  if (BootTimeMs() - last_poll_ > kPollPatienceMs) {
    return Status::Unavailable("the Kafka consumer of group " + options_.group_id + " has not polled for " +
                               std::to_string((BootTimeMs() - last_poll_) / 1000) + " s");
  }
  if (lost_) {
    return Status::Unavailable("this host has lost its place in group " + options_.group_id +
                               ", since Kafka did not hear of it for 10 s or heard of another one of its "
                               "group.instance.id; it joins again by itself");
  }
  if (commits_hang_) {
    return Status::Unavailable("Kafka has not taken an offset commit of group " + options_.group_id +
                               " for 10 s; sending pauses until it does");
  }
  return {};
}

Result<std::vector<GroupConsumer::TopicPartition>> GroupConsumer::PartitionsOf(const std::vector<std::string>& topics) {
  const rd_kafka_metadata_t* metadata = nullptr;
  const rd_kafka_resp_err_t error = rd_kafka_metadata(client_, 1, nullptr, &metadata, kRequestMs);
  if (error != RD_KAFKA_RESP_ERR_NO_ERROR) {
    return Status::Unavailable("no answer from Kafka at " + options_.config.brokers + ": " + rd_kafka_err2str(error));
  }
  std::vector<TopicPartition> partitions;
  Status status;
  for (const std::string& topic : topics) {
    const rd_kafka_metadata_topic* begin = metadata->topics;
    const rd_kafka_metadata_topic* end = begin + metadata->topic_cnt;
    const auto* found =
        std::find_if(begin, end, [&](const rd_kafka_metadata_topic& each) { return each.topic == topic; });
    if (found == end) {
      status = Status::NotFound("the topic \"" + topic + "\" is missing; make it with `postbus topics create`");
      break;
    }
    for (int i = 0; i < found->partition_cnt; ++i) partitions.emplace_back(topic, found->partitions[i].id);
  }
  rd_kafka_metadata_destroy(metadata);
  if (!status.ok()) return status;
  return partitions;
}

Result<std::vector<int64_t>> GroupConsumer::OffsetsAt(const std::vector<TopicPartition>& partitions, int64_t time) {
  OffsetListPtr list = NewList(partitions);
  for (int i = 0; i < list->cnt; ++i) list->elems[i].offset = time;
  const rd_kafka_resp_err_t error = rd_kafka_offsets_for_times(client_, list.get(), kRequestMs);
  const std::string what = "Kafka at " + options_.config.brokers + " does not say what records it has";
  if (error != RD_KAFKA_RESP_ERR_NO_ERROR) return Status::Unavailable(what + ": " + rd_kafka_err2str(error));
  std::vector<int64_t> offsets;
  for (int i = 0; i < list->cnt; ++i) {
    const rd_kafka_topic_partition_t& each = list->elems[i];
    if (each.err != RD_KAFKA_RESP_ERR_NO_ERROR) {
      return Status::Unavailable(what + " in " + NameOf(each.topic, each.partition) + ": " +
                                 rd_kafka_err2str(each.err));
    }
    offsets.push_back(list->elems[i].offset);
  }
  return offsets;
}

Result<std::vector<GroupConsumer::StartingPoint>> GroupConsumer::FindStarts(
    const std::vector<TopicPartition>& partitions) {
  if (partitions.empty()) return std::vector<StartingPoint>();
  const OffsetListPtr committed = NewList(partitions);
  const rd_kafka_resp_err_t error = rd_kafka_committed(client_, committed.get(), kRequestMs);
  if (error != RD_KAFKA_RESP_ERR_NO_ERROR) {
    return Status::Unavailable("no committed offsets from Kafka: " + std::string(rd_kafka_err2str(error)));
  }
  for (int i = 0; i < committed->cnt; ++i) {
    const rd_kafka_topic_partition_t& each = committed->elems[i];
    if (each.err != RD_KAFKA_RESP_ERR_NO_ERROR) {
      return Status::Unavailable("no committed offset from Kafka: " + std::string(rd_kafka_err2str(each.err)));
    }
    if (each.offset >= 0) topics_with_commits_.insert(each.topic);
  }
  // Asked for after the offsets: a map may not reach beyond the log.
  Result<std::vector<int64_t>> low = OffsetsAt(partitions, RD_KAFKA_OFFSET_BEGINNING);
  if (!low.ok()) return low.TakeStatus();
  Result<std::vector<int64_t>> high = OffsetsAt(partitions, RD_KAFKA_OFFSET_END);
  if (!high.ok()) return high.TakeStatus();

  std::vector<StartingPoint> starts(partitions.size());
  for (size_t i = 0; i < partitions.size(); ++i) {
    StartingPoint& start = starts[i];
    std::tie(start.topic, start.partition) = partitions[i];
    const LogRange log{(*low)[i], (*high)[i]};
    const rd_kafka_topic_partition_t& stored = committed->elems[i];
    start.committed = stored.offset >= 0;
    if (!start.committed) {
      ChooseWithoutCommit(log, start);
      continue;
    }
    const std::string_view text(static_cast<const char*>(stored.metadata), stored.metadata_size);
    DecodedOffsetMap decoded = DecodeOffsetMap(text, stored.offset, log);
    start.map = std::move(decoded.map);
    start.verdict = decoded.verdict;
    if (start.verdict == MapVerdict::kUnknownVersion) {
      start.refusal =
          "the last commit has an offset map of a newer postbus: start that one again, or give up what the "
          "map says, so that mails it counts as done go again (docs/upgrading.md)";
      continue;
    }
    if (stored.offset >= log.start && stored.offset <= log.end) continue;
    if (!options_.config.from.empty()) {
      ChooseWithoutCommit(log, start);
      continue;
    }
    start.refusal = "the committed offset " + std::to_string(stored.offset) + " is outside the log [" +
                    std::to_string(log.start) + ", " + std::to_string(log.end) +
                    "): records were deleted before they were read, or the topic was made anew; say where to go on "
                    "with --from earliest|latest|TIME";
  }
  return starts;
}

// Nothing can be skipped or repeated where nothing was ever deleted, nor on a partition added to a topic that the group
// knows. `from` decides what is left.
void GroupConsumer::ChooseWithoutCommit(LogRange log, StartingPoint& start) {
  const std::string& from = options_.config.from;
  const bool is_new = !start.committed && (log.start == 0 || topics_with_commits_.contains(start.topic));
  int64_t offset = log.start;
  if (from == "latest") {
    offset = log.end;
  } else if (!from.empty() && from != "earliest") {
    const Result<std::vector<int64_t>> at = OffsetsAt({{start.topic, start.partition}}, ParseRfc3339(from));
    if (!at.ok()) {
      start.refusal = "no answer on what was written at " + from;
      return;
    }
    offset = at->front() >= 0 ? at->front() : log.end;
  } else if (from.empty() && !is_new) {
    start.refusal = "group " + options_.group_id +
                    " has no committed offset on a topic that was used before (its log begins at offset " +
                    std::to_string(log.start) + "); say where to begin with --from earliest|latest|TIME";
  }
  start.map = OffsetMap::StartingAt(offset);
}

void GroupConsumer::OnRebalance(rd_kafka_t*, rd_kafka_resp_err_t error, rd_kafka_topic_partition_list_t* partitions,
                                void* opaque) {
  auto* self = static_cast<GroupConsumer*>(static_cast<ClientContext*>(opaque)->owner);
  if (error == RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS) {
    self->Assign(*partitions);
  } else {
    const bool lost = rd_kafka_assignment_lost(self->client_) != 0;
    self->lost_ = lost;
    self->Revoke(lost);
  }
}

void GroupConsumer::Assign(const rd_kafka_topic_partition_list_t& partitions) {
  Count(counters_.rebalances);
  std::vector<TopicPartition> wanted;
  for (int i = 0; i < partitions.cnt; ++i) {
    wanted.emplace_back(partitions.elems[i].topic, partitions.elems[i].partition);
  }
  Result<std::vector<StartingPoint>> starts = FindStarts(wanted);
  if (!starts.ok()) log_(LogLevel::kWarning, starts.status().message());
  while (!starts.ok() && stop_deadline_ == 0 && rd_kafka_assignment_lost(client_) == 0) {
    ServeCommitAnswers(kPollMs);
    starts = FindStarts(wanted);
  }
  if (!starts.ok()) {
    rd_kafka_assign(client_, nullptr);
    return;
  }

  OffsetListPtr assignment(rd_kafka_topic_partition_list_new(static_cast<int>(wanted.size() + drained_.size())));
  refused_ = 0;
  for (StartingPoint& start : *starts) {
    std::shared_ptr<Journal> journal;
    if (start.refusal.empty() && options_.journal_of) {
      Result<std::shared_ptr<Journal>> opened = options_.journal_of(start.topic, start.partition);
      if (opened.ok()) journal = std::move(*opened);
      start.refusal = opened.status().message();
    }
    if (!start.refusal.empty()) {
      ++refused_;
      log_(LogLevel::kError, NameOf(start.topic, start.partition) + " is stopped: " + start.refusal);
      continue;
    }
    if (start.verdict != MapVerdict::kEmpty && start.verdict != MapVerdict::kUsed) {
      Count(counters_.offset_maps_ignored);
      log_(LogLevel::kWarning, NameOf(start.topic, start.partition) +
                                   ": the offset map of the last commit is ignored (" +
                                   std::string(MapVerdictName(start.verdict)) + "); some mails may be sent again");
    }
    QueuePtr fetch_queue(rd_kafka_queue_get_partition(client_, start.topic.c_str(), start.partition));
    rd_kafka_queue_forward(fetch_queue.get(), nullptr);  // before the fetch begins; it sticks to the partition
    const int wake_fd = options_.wake_fd_of ? options_.wake_fd_of(start.partition) : -1;
    if (wake_fd >= 0) {
      const uint64_t one = 1;
      rd_kafka_queue_io_event_enable(fetch_queue.get(), wake_fd, &one, sizeof one);
    }
    rd_kafka_topic_partition_list_add(assignment.get(), start.topic.c_str(), start.partition)->offset = start.map.base;
    assigned_.push_back(std::make_shared<Partition>(start.topic, start.partition, start.map, std::move(fetch_queue),
                                                    std::move(journal)));
  }
  if (!assigned_.empty()) {
    for (const auto& [topic, partition] : drained_) {
      rd_kafka_topic_partition_list_add(assignment.get(), topic.c_str(), partition)->offset = RD_KAFKA_OFFSET_END;
    }
  }
  assigned_count_ = static_cast<int64_t>(assigned_.size());
  stopped_count_ = refused_;
  lost_ = false;
  log_(LogLevel::kInfo,
       "group " + options_.group_id + ": " + std::to_string(assigned_.size()) + " partitions assigned");
  // What was found is committed again before any record is read. The broker takes that only from a member of the
  // current generation; and where the group had no offset it has one from now on, so that a missing one is a lost one.
  const int64_t asked = BootTimeMs();
  for (const PartitionPtr& partition : assigned_) partition->AskByCommit();
  CommitAll(asked + kFirstCommitMs);
  last_poll_ = last_loop_ = asked;
  ExtendPermits(asked);
  owner_.OnAssigned(assigned_);
  const rd_kafka_resp_err_t error = rd_kafka_assign(client_, assignment.get());
  if (error != RD_KAFKA_RESP_ERR_NO_ERROR) {
    log_(LogLevel::kError, std::string("Kafka: cannot fetch: ") + rd_kafka_err2str(error));
  }
}

void GroupConsumer::Revoke(bool lost) {
  for (const PartitionPtr& partition : assigned_) partition->BeginRevoke();
  if (!assigned_.empty()) {
    owner_.OnRevoking(assigned_);
    log_(LogLevel::kInfo, "group " + options_.group_id + ": " + std::to_string(assigned_.size()) + " partitions " +
                              (lost ? "lost" : "revoked"));
  }
  if (!lost && !closing_) {
    const int64_t deadline = BootTimeMs() + kRevokeMs;
    const auto waits = [&] {
      return BootTimeMs() < deadline && rd_kafka_assignment_lost(client_) == 0 &&
             (stop_deadline_ == 0 || BootTimeMs() < stop_deadline_) &&
             std::any_of(assigned_.begin(), assigned_.end(),
                         [](const PartitionPtr& each) { return each->turns() > 0; });
    };
    while (waits()) {
      owner_.OnTick();
      CommitWhenDue(BootTimeMs());  // some of them may wait for a claim
      ServeCommitAnswers(2);
    }
    const int64_t commit_until = BootTimeMs() + kRevokeMs;
    CommitAll(stop_deadline_ == 0 ? commit_until : std::min(commit_until, stop_deadline_.load()));
  }
  for (const PartitionPtr& partition : assigned_) partition->Close();
  owner_.OnClosed(assigned_);
  assigned_.clear();
  refused_ = 0;
  assigned_count_ = stopped_count_ = 0;
  waiting_ = backlog_ = -1;
  commit_wanted_since_ = 0;
  rd_kafka_assign(client_, nullptr);
}

void GroupConsumer::CommitWhenDue(int64_t now) {
  if (!under_commit_.empty()) return;
  const int64_t claims_at = commit_at_ - kCommitIntervalMs + kClaimIntervalMs;
  if (now >= commit_at_ || (now >= claims_at && ClaimsWait())) Commit(now);
}

bool GroupConsumer::ClaimsWait() const {
  return std::any_of(assigned_.begin(), assigned_.end(), [](const PartitionPtr& each) { return each->claims_wait(); });
}

void GroupConsumer::Commit(int64_t now) {
  OffsetListPtr offsets(rd_kafka_topic_partition_list_new(static_cast<int>(assigned_.size())));
  for (const PartitionPtr& partition : assigned_) {
    std::optional<Snapshot> snapshot = partition->TakeSnapshot();
    if (!snapshot) continue;
    rd_kafka_topic_partition_t* entry =
        rd_kafka_topic_partition_list_add(offsets.get(), partition->topic.c_str(), partition->number);
    entry->offset = snapshot->base;
    if (!snapshot->map.empty()) {
      entry->metadata = strdup(snapshot->map.c_str());  // the list frees it
      entry->metadata_size = snapshot->map.size();
    }
    under_commit_.emplace_back(partition, std::move(*snapshot));
  }
  commit_at_ = now + kCommitIntervalMs;
  if (under_commit_.empty()) {
    commit_wanted_since_ = 0;
    return;
  }
  if (commit_wanted_since_ == 0) commit_wanted_since_ = now;
  const rd_kafka_resp_err_t error =
      rd_kafka_commit_queue(client_, offsets.get(), commit_answers_.get(), nullptr, nullptr);
  if (error != RD_KAFKA_RESP_ERR_NO_ERROR) {
    Count(counters_.commit_failures);
    under_commit_.clear();
    commit_at_ = now + kCommitAgainMs;
  }
}

void GroupConsumer::ServeCommitAnswers(int timeout_ms) {
  EventPtr answer(rd_kafka_queue_poll(commit_answers_.get(), timeout_ms));
  while (answer != nullptr) {
    if (rd_kafka_event_type(answer.get()) == RD_KAFKA_EVENT_OFFSET_COMMIT) TakeCommitAnswer(answer.get());
    answer.reset(rd_kafka_queue_poll(commit_answers_.get(), 0));
  }
}

void GroupConsumer::TakeCommitAnswer(rd_kafka_event_t* answer) {
  const rd_kafka_resp_err_t request_error = rd_kafka_event_error(answer);
  const rd_kafka_topic_partition_list_t* offsets = rd_kafka_event_topic_partition_list(answer);
  std::map<std::pair<std::string_view, int32_t>, rd_kafka_resp_err_t> errors;
  bool blames_partitions = false;
  for (int i = 0; offsets != nullptr && i < offsets->cnt; ++i) {
    const rd_kafka_topic_partition_t& each = offsets->elems[i];
    errors[{each.topic, each.partition}] = each.err;
    blames_partitions = blames_partitions || each.err != RD_KAFKA_RESP_ERR_NO_ERROR;
  }
  rd_kafka_resp_err_t worst = request_error;
  for (const auto& [partition, snapshot] : under_commit_) {
    const auto found = errors.find({partition->topic, partition->number});
    rd_kafka_resp_err_t error = found != errors.end() ? found->second : RD_KAFKA_RESP_ERR__PARTIAL;
    // A request that failed as a whole blames none; one that failed in part blames the others in vain.
    if (request_error != RD_KAFKA_RESP_ERR_NO_ERROR && !blames_partitions) error = request_error;
    if (error == RD_KAFKA_RESP_ERR_NO_ERROR) {
      partition->Committed(snapshot);
      if (partition->claims_wait()) owner_.OnClaimed(partition);
      continue;
    }
    worst = error;
    if (error == RD_KAFKA_RESP_ERR_OFFSET_METADATA_TOO_LARGE) {
      partition->CommitWithoutMap();
      log_(LogLevel::kError, partition->name + ": Kafka does not take an offset map of " +
                                 std::to_string(snapshot.map.size()) +
                                 " bytes (offset.metadata.max.bytes of the brokers must be 4096); without it a restart "
                                 "sends again what is done out of order");
    }
  }
  under_commit_.clear();
  if (worst == RD_KAFKA_RESP_ERR_NO_ERROR) {
    Count(counters_.commits);
    last_commit_answer_ = BootTimeMs();
    commit_fenced_ = false;
    return;
  }
  Count(counters_.commit_failures);
  commit_fenced_ = IsFenced(worst);
  commit_at_ = BootTimeMs() + kCommitAgainMs;
  log_(LogLevel::kWarning, std::string("Kafka refused an offset commit: ") + rd_kafka_err2str(worst));
}

bool GroupConsumer::CommitAll(int64_t deadline_boot_ms) {
  commit_fenced_ = false;
  commit_at_ = 0;
  while (!commit_fenced_ && BootTimeMs() < deadline_boot_ms) {
    if (under_commit_.empty() && BootTimeMs() >= commit_at_) {
      Commit(BootTimeMs());
      if (under_commit_.empty() && commit_wanted_since_ == 0) return true;
      commit_at_ = 0;
    }
    ServeCommitAnswers(kPollMs);
  }
  return false;
}

void GroupConsumer::ExtendPermits(int64_t now) {
  const bool fresh =
      commit_wanted_since_ == 0 || now - std::max(last_commit_answer_, commit_wanted_since_) < kCommitPatienceMs;
  if (!fresh && !commits_hang_) {
    log_(LogLevel::kError, "Kafka has not taken an offset commit for 10 s: sending pauses until it does");
  }
  commits_hang_ = !fresh;
  for (const PartitionPtr& partition : assigned_) {
    if (!fresh || partition->uncommitted() > kMaxUncommitted) {
      partition->permit.Revoke();  // what it lasts yet would be sent again, should the partition move
    } else if (!partition->asking()) {
      partition->permit.Extend(last_poll_ + kPermitMs);
    }
  }
}

void GroupConsumer::RefreshGauges() {
  int64_t waiting = 0;
  int64_t backlog = 0;
  int64_t stopped = refused_;
  for (const PartitionPtr& partition : assigned_) {
    int64_t low = -1;
    int64_t high = -1;
    rd_kafka_get_watermark_offsets(client_, partition->topic.c_str(), partition->number, &low, &high);
    waiting += partition->Waiting(high);
    backlog += partition->Backlog(high);
    stopped += partition->stopped() ? 1 : 0;
    if (const std::optional<std::string> alarm = partition->TakeAlarm()) log_(LogLevel::kError, *alarm);
  }
  waiting_ = waiting;
  backlog_ = backlog;
  stopped_count_ = stopped;
}

void GroupConsumer::Poll(int timeout_ms) {
  MessagePtr message(rd_kafka_consumer_poll(client_, timeout_ms));
  for (int i = 0; message != nullptr && i < kMaxDrained; ++i) {
    if (message->err == RD_KAFKA_RESP_ERR__FATAL) {
      message.reset();  // it does not outlive its client
      if (stop_deadline_ == 0) BeginAnew();
      return;
    }
    if (message->err != RD_KAFKA_RESP_ERR_NO_ERROR) {
      log_(LogLevel::kDebug, std::string("Kafka: ") + rd_kafka_message_errstr(message.get()));
    }
    message.reset(rd_kafka_consumer_poll(client_, 0));
  }
}

// After a fatal error a client of librdkafka does nothing any more. The one that a consumer meets is that its
// group.instance.id was fenced: by a host that has it, too, or by its own earlier request, which a broker that stood
// still answers when it goes on (KIP-345: each JoinGroup of the id gets a new member id, which voids the one before).
// Under another id nobody is in its way, and it is in nobody's.
void GroupConsumer::BeginAnew() {
  lost_ = true;
  char reason[512] = "";
  const rd_kafka_resp_err_t cause = rd_kafka_fatal_error(client_, reason, sizeof reason);
  Revoke(true);
  under_commit_.clear();
  commit_fenced_ = commits_hang_ = false;
  std::string why = "group " + options_.group_id + ": this host begins anew after: " + reason;
  if (cause == RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID) {
    const std::string before =
        std::exchange(instance_id_, options_.instance_id + "-" + std::to_string(std::random_device()()));
    why += ". Its group.instance.id is now " + instance_id_ + ", no longer " + before +
           ". If Kafka did not stand still before, another host has that id: do not share a copy of a state_dir "
           "(delete the instance-* files in the copy)";
  }
  log_(LogLevel::kWarning, why);
  commit_answers_.reset();
  DestroyClient();
  for (Status made = MakeClient(); !made.ok(); made = MakeClient()) {
    log_(LogLevel::kError, made.message());
    if (stop_deadline_ != 0) return;
    std::this_thread::sleep_for(std::chrono::milliseconds(kBeginAgainMs));
  }
  if (const Status subscribed = Subscribe(); !subscribed.ok()) log_(LogLevel::kError, subscribed.message());
}

void GroupConsumer::Run() {
  while (stop_deadline_ == 0) {
    const int longest_ms = ClaimsWait() ? kPollForClaimsMs : kPollMs;
    Poll(std::clamp(owner_.OnTick(), 0, longest_ms));
    if (client_ == nullptr) return;  // stopped while it could not begin anew: nothing is assigned
    const int64_t now = BootTimeMs();
    last_poll_ = now;
    if (now - last_loop_ > kPermitMs) {
      // We slept (SIGSTOP, suspend) or a callback waited long: the session may be over without our knowing.
      for (const PartitionPtr& partition : assigned_) partition->AskByCommit();
    }
    last_loop_ = now;
    ServeCommitAnswers(0);
    CommitWhenDue(now);
    ExtendPermits(now);
    if (now >= gauges_at_) {
      RefreshGauges();
      gauges_at_ = now + kGaugesMs;
    }
  }
  for (const PartitionPtr& partition : assigned_) partition->BeginRevoke();
  owner_.OnRevoking(assigned_);
  stopped_cleanly_ = CommitAll(stop_deadline_);
  if (leave_) Leave();
  Close();
}

// What a static member does not say when it closes, it says when it unsubscribes (librdkafka 2.0.2, rdkafka_cgrp.c
// `leave_maybe`): revokes, and asks the coordinator to be let go. It has no member id any more as soon as that is sent;
// Close waits for the answer.
void GroupConsumer::Leave() {
  rd_kafka_unsubscribe(client_);
  const auto is_member = [this] {
    char* id = rd_kafka_memberid(client_);
    const bool has_one = id != nullptr && *id != '\0';
    if (id != nullptr) rd_kafka_mem_free(client_, id);
    return has_one;
  };
  while (is_member() && BootTimeMs() < stop_deadline_) Poll(kPollMs);
  log_(LogLevel::kInfo, "group " + options_.group_id + ": left; the others take over its partitions");
}

void GroupConsumer::Close() {
  closing_ = true;
  QueuePtr queue(rd_kafka_queue_new(client_));
  if (BootTimeMs() < stop_deadline_) {
    rd_kafka_error_t* error = rd_kafka_consumer_close_queue(client_, queue.get());
    while (error == nullptr && rd_kafka_consumer_closed(client_) == 0 && BootTimeMs() < stop_deadline_) {
      MessagePtr dropped(rd_kafka_consume_queue(queue.get(), kPollMs));  // serves the last rebalance
    }
    if (error != nullptr) rd_kafka_error_destroy(error);  // a fatal one: there is nothing to close any more
  }
  for (const PartitionPtr& partition : assigned_) partition->Close();
  owner_.OnClosed(assigned_);
  assigned_.clear();
  queue.reset();
  commit_answers_.reset();
  DestroyClient();
}

// Waits for the end of the client's threads, which may wait for an answer from a broker: a second longer than the
// deadline, then it leaves them to themselves.
void GroupConsumer::DestroyClient() {
  rd_kafka_set_log_level(client_, 0);  // they may outlive what they log to
  auto done = std::make_shared<std::atomic<bool>>(false);
  std::thread destroyer([client = client_, done] {
    rd_kafka_destroy_flags(client, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
    *done = true;
  });
  const int64_t patience = std::max(BootTimeMs(), stop_deadline_.load()) + kDestroyMs;
  while (!*done && BootTimeMs() < patience) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  if (*done) {
    destroyer.join();
  } else {
    log_(LogLevel::kWarning, "the Kafka consumer of group " + options_.group_id + " does not end in time");
    destroyer.detach();
  }
  client_ = nullptr;
}

}  // namespace postbus::kafka
