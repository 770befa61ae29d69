#include "queue/kafka/delay_service.h"

#include <algorithm>

#include "event/due_clock.h"

namespace postbus::kafka {
namespace {

constexpr int64_t kInMemoryMs = kDelaySteps.front().ms;
constexpr int64_t kStaleMs = int64_t{7} * 86'400'000;
constexpr size_t kMaxBytes = 32 * 1024 * 1024;
constexpr int kMaxAtOnce = 256;  // of a partition, before the others have their turn
constexpr int kTickMs = 10;

GroupConsumer::Options ConsumerOptions(const KafkaConfig& config, const TopicNames& names,
                                       const std::string& instance_id) {
  return {.config = config,
          .group_id = config.group_id + "-delay",
          .instance_id = instance_id,
          .topics = {names.delays.begin(), names.delays.end()},
          .drained_topic = names.cancellations,
          .fetch = {.fetch_kib = 32, .queue_kib = 32, .wait_ms = 200},
          .journal_of = nullptr,
          .wake_fd_of = nullptr};
}

}  // namespace

DelayService::DelayService(const KafkaConfig& config, bool at_most_once, const std::string& instance_id,
                           RecordProducer& copies, QueueLog log)
    : names_(config),
      group_(config.group_id),
      at_most_once_(at_most_once),
      copies_(copies),
      log_(std::move(log)),
      consumer_(ConsumerOptions(config, names_, instance_id), *this, counters_, log_) {}

void DelayService::OnAssigned(const PartitionList& partitions) {
  for (const PartitionPtr& partition : partitions) {
    const auto topic = std::find(names_.delays.begin(), names_.delays.end(), partition->topic);
    lanes_.push_back({partition, static_cast<size_t>(topic - names_.delays.begin()), std::nullopt});
  }
}

void DelayService::OnRevoking(const PartitionList&) {
  // Eager rebalances: all partitions end. What waits here is fetched again by their next owners.
  for (Lane& lane : lanes_) {
    if (lane.head) bytes_ -= lane.head->bytes;
  }
  for (const auto& [wake, parked] : waiting_) bytes_ -= parked.bytes;
  for (const auto& [ticket, leaving] : leaving_) {
    bytes_ -= leaving.parked.bytes;
    leaving.parked.partition->Unclaim(leaving.parked.source.offset, ticket);
  }
  lanes_.clear();
  waiting_.clear();
  leaving_.clear();
}

void DelayService::OnClaimed(const PartitionPtr& partition) {
  if (!moving_) return;  // what is leaving stays, unclaimed, when the partition ends
  std::vector<uint64_t> durable;
  partition->TakeClaimed(durable);
  for (const uint64_t ticket : durable) {
    auto leaving = leaving_.extract(ticket);
    if (!leaving.empty()) WriteEvent(std::move(leaving.mapped().parked), std::move(leaving.mapped().to_topic));
  }
}

void DelayService::OnClosed(const PartitionList& partitions) { OnRevoking(partitions); }

int DelayService::OnTick() {
  if (!moving_) return kTickMs;
  const int64_t now = DueTimeMs();
  bool more = false;
  for (Lane& lane : lanes_) {
    for (int i = 0; i < kMaxAtOnce; ++i) {
      if (!lane.head) lane.head = Take(lane, now);
      if (!lane.head) break;
      const bool in_any_order = lane.step == 0;
      if (!in_any_order && lane.head->wake_unix_ms > now) break;
      more = more || i + 1 == kMaxAtOnce;
      Parked parked = std::move(*lane.head);
      lane.head.reset();
      if (parked.wake_unix_ms > now) {
        const int64_t wake = parked.wake_unix_ms;
        waiting_.emplace(wake, std::move(parked));
      } else {
        Look(std::move(parked), now);
      }
    }
  }
  while (!waiting_.empty() && waiting_.begin()->first <= now) {
    Parked parked = std::move(waiting_.begin()->second);
    waiting_.erase(waiting_.begin());
    Look(std::move(parked), now);
  }
  if (more) return 0;
  if (waiting_.empty()) return kTickMs;
  return static_cast<int>(std::clamp<int64_t>(waiting_.begin()->first - DueTimeMs(), 0, kTickMs));
}

std::optional<DelayService::Parked> DelayService::Take(Lane& lane, int64_t now) {
  while (bytes_ < kMaxBytes) {
    const Partition::Taken taken = lane.partition->Take();
    const MessagePtr& message = taken.message;
    if (message == nullptr) return std::nullopt;
    Parked parked;
    parked.partition = lane.partition;
    const Status valid = ReadSource(*message, parked.source);
    if (parked.source.headers.format > EventHeaders::kFormat) {
      lane.partition->StopForGood("the record at offset " + std::to_string(message->offset) + " has postbus-fmt " +
                                  std::to_string(parked.source.headers.format) +
                                  "; start the newer postbus that wrote it");
      return std::nullopt;
    }
    parked.record = CopyOf(*message);
    parked.bytes = sizeof(Parked) + parked.record.value.size();
    bytes_ += parked.bytes;
    if (!valid.ok()) {
      DepartDead(std::move(parked), "invalid_headers", valid.message());
      continue;
    }
    if (taken.admission == Admission::kClaimed) {
      DepartDead(std::move(parked), "in_doubt", kCopyInDoubt);
      continue;
    }
    rd_kafka_timestamp_type_t type = RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
    const int64_t written = rd_kafka_message_timestamp(message.get(), &type);
    parked.wake_unix_ms = parked.due();
    if (written >= 0) parked.wake_unix_ms = std::min(parked.wake_unix_ms, written + kDelaySteps[lane.step].ms);
    // Not all clocks agree; its step is what it was to wait here at the most.
    parked.wake_unix_ms = std::min(parked.wake_unix_ms, now + kDelaySteps[lane.step].ms);
    return parked;
  }
  return std::nullopt;
}

void DelayService::Look(Parked parked, int64_t now) {
  const int64_t remaining = parked.due() - now;
  if (parked.due() != 0 && remaining < -kStaleMs) {
    DepartDead(std::move(parked), "stale", "more than 7 days past its due time when it was read");
  } else if (remaining <= 0) {
    const Priority priority = names_.PriorityOf(parked.source.headers.origin.topic);
    Depart(std::move(parked), names_.events[static_cast<size_t>(priority)]);
  } else if (remaining > kInMemoryMs) {
    Depart(std::move(parked), names_.delays[DelayStepFor(remaining)]);
  } else {
    const int64_t due = parked.due();
    waiting_.emplace(due, std::move(parked));
  }
}

std::shared_ptr<DelayService::Departure> DelayService::BeginDeparture(Parked parked, int copies) {
  parked.partition->AddTurn();
  return std::make_shared<Departure>(
      Departure{std::move(parked.partition), std::move(parked.source), parked.bytes, copies});
}

void DelayService::Depart(Parked parked, std::string to_topic) {
  if (!at_most_once_ || parked.partition->Claim(parked.source.offset, ++last_ticket_)) {
    return WriteEvent(std::move(parked), std::move(to_topic));
  }
  leaving_.emplace(last_ticket_, Leaving{std::move(parked), std::move(to_topic)});
}

void DelayService::WriteEvent(Parked parked, std::string to_topic) {
  Record record = std::move(parked.record);
  record.topic = std::move(to_topic);
  Write(BeginDeparture(std::move(parked), 1), CopyKind::kForwarded, std::move(record));
}

void DelayService::DepartDead(Parked parked, std::string_view outcome_class, std::string_view message) {
  Burial burial = Bury(names_, group_, parked.source, outcome_class, message, parked.record.value);
  const std::shared_ptr<Departure> departure = BeginDeparture(std::move(parked), 2);
  Write(departure, CopyKind::kDeadLetter, std::move(burial.letter));
  Write(departure, CopyKind::kStatus, std::move(burial.status));
}

void DelayService::Write(const std::shared_ptr<Departure>& departure, CopyKind kind, Record record) {
  copies_.ProduceDurably(
      std::move(record),
      [this, departure, kind](const Status& status, const RecordBack& back) {
        return OnAnswer(departure, kind, status, back);
      },
      at_most_once_ && IsEvent(kind));
}

// What cannot be written stays open; as its partition takes no more than the window, nothing grows without end.
RecordProducer::After DelayService::OnAnswer(const std::shared_ptr<Departure>& departure, CopyKind kind,
                                             const Status& status, const RecordBack& record) {
  if (at_most_once_ && IsEvent(kind) && !status.ok() && status.kind() == ErrorKind::kUncertain) {
    Write(departure, CopyKind::kDeadLetter,
          LetterFor(names_, group_, departure->source, record(), "in_doubt", kCopyInDoubt));
    return RecordProducer::After::kDone;
  }
  const bool too_large = !status.ok() && status.kind() == ErrorKind::kInvalid && kind != CopyKind::kPointer;
  if (!status.ok() && !too_large) {
    if (!std::exchange(departure->alarmed, true)) {
      log_(LogLevel::kError, departure->partition->name +
                                 ": a deferred event cannot be moved, tried again: " + std::string(status.message()));
    }
    return RecordProducer::After::kAgain;
  }
  if (too_large) {
    if (auto smaller = SmallerThan(names_, group_, departure->source, kind, record())) {
      Write(departure, smaller->kind, std::move(smaller->record));
      return RecordProducer::After::kDone;
    }
  }
  if (kind == CopyKind::kDeadLetter || kind == CopyKind::kPointer) Count(counters_.dead_lettered);
  if (--departure->copies_left > 0) return RecordProducer::After::kDone;
  departure->partition->Complete(departure->source.offset);
  departure->partition->RemoveTurn();
  bytes_ -= departure->bytes;
  return RecordProducer::After::kDone;
}

}  // namespace postbus::kafka
