#include "queue/kafka/kafka_shard.h"

#include <unistd.h>

#include <algorithm>
#include <cassert>
#include <utility>

#include "event/due_clock.h"

namespace postbus::kafka {
namespace {

// 70/25/5 of every 20 events, spread.
constexpr Priority kH = Priority::kHigh;
constexpr Priority kN = Priority::kNormal;
constexpr Priority kL = Priority::kLow;
constexpr std::array<Priority, 20> kSchedule = {kH, kN, kH, kH, kH, kN, kH, kH, kH, kN,
                                                kH, kH, kH, kN, kH, kH, kH, kN, kH, kL};

constexpr int kStay = 32;
constexpr size_t kMostEndedOrphans = 10'000;  // more than can be under way
constexpr int kSkip = 32;

}  // namespace

struct KafkaShard::CopyReport {
  CopyReport(KafkaShard* of, TurnId turn_id, CopyKind copy_kind) : shard(of), turn(turn_id), kind(copy_kind) {}

  KafkaShard* shard;
  TurnId turn;
  CopyKind kind;
  bool failed = false;  // before
  PartitionPtr held;    // stands still until the dead letter is written

  RecordProducer::After operator()(const Status& status, const RecordBack& record) {
    return shard->OnCopyAnswer(*this, status, record);
  }
};

bool KafkaShard::Next(QueuedEvent& out, Which which) {
  std::lock_guard lock(mutex_);
  if (!shared_.consuming || !shared_.knows_cancellations) return false;
  bool yielded = which == Which::kAny && YieldAgain(out);
  Partition::Taken taken;
  PartitionPtr partition;
  Priority priority{};
  while (!yielded && TakeRecord(which, taken, partition, priority)) {
    yielded = BeginTurn(taken, partition, priority, out);
  }
  if (yielded) Count(shared_.counters.consumed);
  return yielded;
}

bool KafkaShard::TakeRecord(Which which, Partition::Taken& taken, PartitionPtr& partition, Priority& priority) {
  if (which == Which::kHighOnly) {
    priority = kH;
    return TakeFrom(lanes_[static_cast<size_t>(kH)], taken, partition);
  }
  const std::array<Priority, kPriorities + 1> order = {kSchedule[schedule_at_], kH, kN, kL};
  schedule_at_ = (schedule_at_ + 1) % kSchedule.size();
  std::array<bool, kPriorities> looked_at{};
  // A lane that was empty a moment ago costs a look at each of its queues: it waits until others have nothing, either.
  for (const bool patient : {true, false}) {
    for (const Priority each : order) {
      Lane& lane = lanes_[static_cast<size_t>(each)];
      bool& done = looked_at[static_cast<size_t>(each)];
      if (done || (patient && lane.skip > 0)) continue;
      done = true;
      if (TakeFrom(lane, taken, partition)) {
        priority = each;
        for (Lane& other : lanes_) other.skip = std::max(0, other.skip - 1);
        lane.skip = 0;
        return true;
      }
      lane.skip = kSkip;
    }
  }
  return false;
}

bool KafkaShard::TakeFrom(Lane& lane, Partition::Taken& taken, PartitionPtr& partition) {
  const size_t count = lane.partitions.size();
  if (count == 0) return false;
  for (size_t tried = 0; tried <= count; ++tried) {
    if (lane.stayed < kStay) {
      partition = lane.partitions[lane.current];
      taken = partition->Take();
      if (taken.message != nullptr) {
        ++lane.stayed;
        return true;
      }
    }
    lane.current = (lane.current + 1) % count;
    lane.stayed = 0;
  }
  return false;
}

void KafkaShard::Fill(const rd_kafka_message_t& message, const Source& source, Priority priority, QueuedEvent& out) {
  out.priority = priority;
  out.value.assign(static_cast<const char*>(message.payload), message.len);
  out.headers = source.headers;
}

bool KafkaShard::BeginTurn(const Partition::Taken& taken, const PartitionPtr& partition, Priority priority,
                           QueuedEvent& out) {
  const rd_kafka_message_t& message = *taken.message;
  if (!orphans_.empty()) {
    const auto orphan = orphans_.find({partition->topic, partition->number, message.offset});
    if (orphan != orphans_.end()) {
      Turn& turn = turns_[orphan->second];
      turn.partition = partition;
      partition->AddTurn();
      turn.fetched_again = std::make_unique<QueuedEvent>();
      Fill(message, turn.source, priority, *turn.fetched_again);
      orphans_.erase(orphan);
      partition->Abandon(taken.marks);  // the old turn goes on with its own
      return false;
    }
  }
  const Slot slot = NewSlot();
  Turn& turn = turns_[slot];
  turn.partition = turn.permit_of = partition;
  turn.marks = taken.marks;
  partition->AddTurn();
  const Status valid = ReadSource(message, turn.source);
  if (!ended_orphans_.empty()) {
    const auto ended = ended_orphans_.find({partition->topic, partition->number, message.offset});
    if (ended != ended_orphans_.end()) {
      const bool same = ended->second == turn.source.headers.accepted_at_unix_ms;
      ended_orphans_.erase(ended);
      if (same) {
        turn.ended = true;
        EndIfDone(slot, turn);
        return false;
      }
    }
  }
  if (turn.source.headers.format > EventHeaders::kFormat) {
    // It is begun and never ends, so that no commit can pass it.
    partition->StopForGood("the record at offset " + std::to_string(message.offset) + " has postbus-fmt " +
                           std::to_string(turn.source.headers.format) + "; start the newer postbus that wrote it");
    Free(slot, turn);
    return false;
  }
  const TurnId id = IdOf(slot, turn);
  const std::string_view value(static_cast<const char*>(message.payload), message.len);
  if (!valid.ok()) {
    SettleUnseen(id, turn, "invalid_headers", valid.message(), value);
    return false;
  }
  if (taken.admission == Admission::kClaimed) {
    SettleUnseen(id, turn, "in_doubt", "handed to a transport before a restart; whether it was sent is not known",
                 value);
    return false;
  }
  Fill(message, turn.source, priority, out);
  out.turn = id;
  out.permit = &partition->permit;
  out.marks = turn.marks;
  out.past = taken.past;
  return true;
}

bool KafkaShard::YieldAgain(QueuedEvent& out) {
  if (again_.empty()) return false;
  const Slot slot = again_.front();
  Turn& turn = turns_[slot];
  if (turn.partition->revoking()) return false;  // dropped when it is closed
  again_.pop_front();
  turn.permit_of = turn.partition;
  turn.partition->AddTurn();
  out = std::move(*turn.fetched_again);
  turn.fetched_again.reset();
  out.turn = IdOf(slot, turn);
  out.permit = &turn.partition->permit;
  out.marks = turn.marks;
  out.past = {};
  return true;
}

void KafkaShard::Defer(TurnId id, const DeferredCopy& copy) {
  std::lock_guard lock(mutex_);
  Turn& turn = Find(id);
  AddCopy(id, turn, CopyKind::kEvent, DeferredRecord(shared_.names, turn.source, copy, DueTimeMs()));
}

void KafkaShard::DeadLetter(TurnId id, const DeadLetterCopy& copy) {
  std::lock_guard lock(mutex_);
  Turn& turn = Find(id);
  AddCopy(id, turn, CopyKind::kDeadLetter, DeadLetterRecord(shared_.names, shared_.group, turn.source, copy));
}

void KafkaShard::Report(TurnId id, const StatusRecord& status) {
  Record record = StatusChangeRecord(shared_.names, status);
  if (IsEndWithoutMail(status.change)) {
    std::lock_guard lock(mutex_);
    AddCopy(id, Find(id), CopyKind::kStatus, std::move(record));
    return;
  }
  const auto best_effort = [](const Status&, const RecordBack&) { return RecordProducer::After::kDone; };
  static_cast<void>(shared_.status.Produce(record, best_effort));
}

void KafkaShard::Complete(TurnId id) {
  std::lock_guard lock(mutex_);
  Turn& turn = Find(id);
  turn.ended = true;
  EndIfDone(SlotOf(id), turn);
}

void KafkaShard::Abandon(TurnId id) {
  std::lock_guard lock(mutex_);
  Turn& turn = Find(id);
  assert(turn.copies_on_the_way == 0 && !turn.ended);
  if (turn.fetched_again == nullptr) {
    if (turn.partition->closed()) orphans_.erase({turn.source.topic, turn.source.partition, turn.source.offset});
    Free(SlotOf(id), turn);
    return;
  }
  turn.partition->RemoveTurn();
  ++turn.generation;
  turn.revocation_told = false;
  again_.push_back(SlotOf(id));
  Wake();
}

void KafkaShard::TakeRevoked(std::vector<TurnId>& turns) {
  if (!revocation_news_.exchange(false)) return;
  std::lock_guard lock(mutex_);
  for (Slot slot = 0; slot < turns_.size(); ++slot) {
    Turn& turn = turns_[slot];
    if (turn.partition == nullptr || turn.ended || turn.revocation_told || !turn.partition->revoking()) continue;
    if (std::find(again_.begin(), again_.end(), slot) != again_.end()) continue;
    turn.revocation_told = true;
    turns.push_back(IdOf(slot, turn));
  }
}

void KafkaShard::Add(const PartitionPtr& partition) {
  std::lock_guard lock(mutex_);
  lanes_[static_cast<size_t>(shared_.names.PriorityOf(partition->topic))].partitions.push_back(partition);
}

void KafkaShard::Revoke(const PartitionPtr& partition) {
  {
    std::lock_guard lock(mutex_);
    DropFetchedAgain(partition);
  }
  revocation_news_ = true;
  Wake();
}

void KafkaShard::Remove(const PartitionPtr& partition) {
  std::lock_guard lock(mutex_);
  DropFetchedAgain(partition);
  for (Lane& lane : lanes_) {
    std::erase(lane.partitions, partition);
    lane.current = 0;
  }
  for (Slot slot = 0; slot < turns_.size(); ++slot) {
    const Turn& turn = turns_[slot];
    if (turn.partition == partition) orphans_[{partition->topic, partition->number, turn.source.offset}] = slot;
  }
}

// Abandoned by the old turn, not yielded yet: the partition's next owner fetches them.
void KafkaShard::DropFetchedAgain(const PartitionPtr& partition) {
  std::erase_if(again_, [&](Slot slot) {
    Turn& turn = turns_[slot];
    if (turn.partition != partition) return false;
    partition->AddTurn();  // Free takes one away
    Free(slot, turn);
    return true;
  });
}

void KafkaShard::Wake() {
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = write(wake_fd_, &one, sizeof one);  // full: it is awake
}

size_t KafkaShard::open_turns() const {
  std::lock_guard lock(mutex_);
  return turns_.size() - free_.size() - again_.size();
}

KafkaShard::Slot KafkaShard::NewSlot() {
  if (free_.empty()) {
    turns_.emplace_back().generation = 1;
    return static_cast<Slot>(turns_.size() - 1);
  }
  const Slot slot = free_.back();
  free_.pop_back();
  return slot;
}

KafkaShard::Turn& KafkaShard::Find(TurnId id) {
  Turn& turn = turns_.at(SlotOf(id));
  assert(turn.generation == id >> 32 && turn.partition != nullptr);
  return turn;
}

void KafkaShard::Free(Slot slot, Turn& turn) {
  turn.partition->RemoveTurn();
  if (!turn.ended) turn.partition->Abandon(turn.marks);
  turn.marks = {};
  turn.partition.reset();
  turn.permit_of.reset();
  turn.fetched_again.reset();
  turn.ended = turn.revocation_told = false;
  ++turn.generation;
  free_.push_back(slot);
}

void KafkaShard::AddCopy(TurnId id, Turn& turn, CopyKind kind, Record record) {
  ++turn.copies_on_the_way;
  shared_.copies.ProduceDurably(std::move(record), CopyReport(this, id, kind));
}

void KafkaShard::SettleUnseen(TurnId id, Turn& turn, std::string_view outcome_class, std::string_view message,
                              std::string_view value) {
  Burial burial = Bury(shared_.names, shared_.group, turn.source, outcome_class, message, value);
  AddCopy(id, turn, CopyKind::kDeadLetter, std::move(burial.letter));
  AddCopy(id, turn, CopyKind::kStatus, std::move(burial.status));
  turn.ended = true;
}

RecordProducer::After KafkaShard::OnCopyAnswer(CopyReport& report, const Status& status, const RecordBack& record) {
  std::lock_guard lock(mutex_);
  const Slot slot = SlotOf(report.turn);
  Turn& turn = turns_[slot];  // it cannot have ended without this copy
  const bool holds = report.kind == CopyKind::kDeadLetter || report.kind == CopyKind::kPointer;
  const bool too_large = !status.ok() && status.kind() == ErrorKind::kInvalid && report.kind != CopyKind::kPointer;
  if (!status.ok() && !too_large) {
    if (!std::exchange(report.failed, true)) {
      if (holds) {
        report.held = turn.partition;
        report.held->Hold();
      }
      shared_.log(LogLevel::kError, turn.partition->name +
                                        (holds ? " stands still: a dead letter cannot be written: "
                                               : ": a copy cannot be written, tried again: ") +
                                        std::string(status.message()));
    }
    return RecordProducer::After::kAgain;
  }
  if (report.held != nullptr) report.held->Release();
  if (too_large) {
    if (auto smaller = SmallerThan(shared_.names, shared_.group, turn.source, report.kind, record())) {
      shared_.copies.ProduceDurably(std::move(smaller->record), CopyReport(this, report.turn, smaller->kind));
      return RecordProducer::After::kDone;
    }
  }
  // A status record that is too large is given up: it is at most a few kilobytes, unless somebody shrank the topic.
  if (report.kind == CopyKind::kEvent) Count(shared_.counters.deferred);
  if (holds) Count(shared_.counters.dead_lettered);
  --turn.copies_on_the_way;
  if (EndIfDone(slot, turn) || report.held != nullptr) Wake();
  return RecordProducer::After::kDone;
}

bool KafkaShard::EndIfDone(Slot slot, Turn& turn) {
  if (!turn.ended || turn.copies_on_the_way > 0) return false;
  if (turn.partition->closed()) {
    const RecordPlace place{turn.source.topic, turn.source.partition, turn.source.offset};
    orphans_.erase(place);
    if (ended_orphans_.size() < kMostEndedOrphans) ended_orphans_[place] = turn.source.headers.accepted_at_unix_ms;
  } else {
    Count(shared_.counters.completed);
  }
  const bool news = turn.partition->Complete(turn.source.offset, turn.marks);
  Free(slot, turn);
  return news;
}

}  // namespace postbus::kafka
