#include "queue/kafka/kafka_shard.h"

#include <unistd.h>

#include <algorithm>
#include <cassert>
#include <set>
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
constexpr size_t kMostParkedBytes = 16 << 20;  // with more nothing is taken until some are judged
constexpr size_t kMostEndedOrphans = 10'000;   // more than can be under way
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
  if (key_news_.exchange(false)) JudgeParked();
  bool yielded = which == Which::kAny && YieldAgain(out);
  Partition::Taken taken;
  PartitionPtr partition;
  Priority priority{};
  while (!yielded && parked_bytes_ < kMostParkedBytes && TakeRecord(which, taken, partition, priority)) {
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
      if (turn.claim != Claimed::kByAnother) {
        turn.claim = taken.admission == Admission::kClaimed ? Claimed::kDurable : Claimed::kNo;
      }
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
    turn.claim = taken.past.claim_is_ours ? Claimed::kDurable : Claimed::kByAnother;
  } else if (taken.past.claim_is_ours) {
    turn.marks.Claimed(false);  // the group has lost it
  }
  Fill(message, turn.source, priority, out);
  out.turn = id;
  out.permit = &partition->permit;
  out.marks = turn.marks;
  out.past = taken.past;
  out.past.claimed = turn.claim == Claimed::kByAnother;
  return MayBeSent(slot, turn, out);
}

bool KafkaShard::MayBeSent(Slot slot, Turn& turn, QueuedEvent& out) {
  if (shared_.keyed == nullptr || !IsKeyed(turn.source)) return true;
  turn.keyed = true;
  const bool others_wait = std::any_of(parked_.begin(), parked_.end(),
                                       [&](Slot parked) { return turns_[parked].partition == turn.partition; });
  const KeyedEvents::Verdict verdict = others_wait ? KeyedEvents::Verdict::kWait : shared_.keyed->Judge(turn.source);
  if (verdict == KeyedEvents::Verdict::kSend) return true;
  if (verdict == KeyedEvents::Verdict::kRepeated) {
    DropRepeated(slot, turn);
  } else {
    parked_bytes_ += out.value.size();
    turn.fetched_again = std::make_unique<QueuedEvent>(std::exchange(out, {}));
    turn.partition->RemoveTurn();
    parked_.push_back(slot);
  }
  return false;
}

void KafkaShard::JudgeParked() {
  std::set<PartitionPtr> waiting;  // the others of a partition wait, too, so that they keep their order
  std::deque<Slot> left;
  for (const Slot slot : parked_) {
    Turn& turn = turns_[slot];
    KeyedEvents::Verdict verdict = KeyedEvents::Verdict::kWait;
    if (!turn.partition->revoking() && !waiting.contains(turn.partition)) verdict = shared_.keyed->Judge(turn.source);
    if (verdict == KeyedEvents::Verdict::kWait) {
      waiting.insert(turn.partition);
      left.push_back(slot);
      continue;
    }
    parked_bytes_ -= turn.fetched_again->value.size();
    if (verdict == KeyedEvents::Verdict::kSend) {
      again_.push_back(slot);
    } else {
      turn.partition->AddTurn();
      DropRepeated(slot, turn);
    }
  }
  parked_ = std::move(left);
}

void KafkaShard::DropRepeated(Slot slot, Turn& turn) {
  shared_.log(LogLevel::kInfo,
              "not sent again: id=" + turn.source.headers.id + ", its Idempotency-Key was used before");
  turn.ended = true;
  EndIfDone(slot, turn);
}

void KafkaShard::OnKeyNews() {
  key_news_ = true;
  Wake();
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
  out.past.claimed = turn.claim == Claimed::kByAnother;
  return true;
}

void KafkaShard::Defer(TurnId id, const DeferredCopy& copy) {
  std::lock_guard lock(mutex_);
  Turn& turn = Find(id);
  AddEventCopy(id, turn, {DeferredRecord(shared_.names, turn.source, copy, DueTimeMs()), CopyKind::kDeferred});
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

bool KafkaShard::Forward(TurnId id, Priority to, std::string_view value) {
  std::lock_guard lock(mutex_);
  Turn& turn = Find(id);
  AddEventCopy(id, turn, {ForwardedRecord(shared_.names, turn.source, to, value), CopyKind::kForwarded});
  turn.ended = true;
  EndIfDone(SlotOf(id), turn);  // where the copy was dropped
  return true;
}

void KafkaShard::Abandon(TurnId id) {
  std::lock_guard lock(mutex_);
  Turn& turn = Find(id);
  assert(turn.copies_on_the_way == 0 && !turn.ended);
  TakeClaimBack(id, turn);
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
    const auto is_in = [slot](const std::deque<Slot>& slots) {
      return std::find(slots.begin(), slots.end(), slot) != slots.end();
    };
    if (is_in(again_) || is_in(parked_)) continue;
    turn.revocation_told = true;
    turns.push_back(IdOf(slot, turn));
  }
}

void KafkaShard::Claim(TurnId id) {
  std::lock_guard lock(mutex_);
  Turn& turn = Find(id);
  turn.host_waits_for_claim = true;
  AskClaim(id, turn);
}

void KafkaShard::Unclaim(TurnId id) {
  std::lock_guard lock(mutex_);
  TakeClaimBack(id, Find(id));
}

void KafkaShard::TakeClaimed(std::vector<TurnId>& turns) {
  std::lock_guard lock(mutex_);
  turns.insert(turns.end(), claimed_.begin(), claimed_.end());
  claimed_.clear();
}

void KafkaShard::AskClaim(TurnId id, Turn& turn) {
  if (turn.claim == Claimed::kNo) {
    turn.claim = Claimed::kAsked;
    if (turn.partition->Claim(turn.source.offset, id)) turn.claim = Claimed::kDurable;
  }
  if (turn.claim == Claimed::kDurable) OnDurableClaim(id, turn);
}

void KafkaShard::OnDurableClaim(TurnId id, Turn& turn) {
  turn.claim = Claimed::kDurable;
  turn.marks.Claimed(!turn.deferred);
  for (Copy& copy : std::exchange(turn.held, {})) {
    --turn.copies_on_the_way;
    AddEventCopy(id, turn, std::move(copy));
  }
  if (!std::exchange(turn.host_waits_for_claim, false)) return;
  if (claimed_.empty()) Wake();
  claimed_.push_back(id);
}

void KafkaShard::TakeClaimBack(TurnId id, Turn& turn) {
  turn.host_waits_for_claim = false;
  std::erase(claimed_, id);
  if (turn.claim != Claimed::kAsked && turn.claim != Claimed::kDurable) return;
  turn.partition->Unclaim(turn.source.offset, id, turn.marks);
  turn.claim = Claimed::kNo;
}

void KafkaShard::OnClaimed(const PartitionPtr& partition) {
  std::lock_guard lock(mutex_);
  std::vector<TurnId> durable;
  partition->TakeClaimed(durable);
  for (const TurnId id : durable) {
    Turn& turn = turns_[SlotOf(id)];
    const bool is_over = turn.generation != id >> 32 || turn.partition == nullptr;
    if (!is_over) OnDurableClaim(id, turn);
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
    Turn& turn = turns_[slot];
    if (turn.partition != partition) continue;
    if (!turn.held.empty()) {
      turn.copies_on_the_way -= static_cast<int>(turn.held.size());
      turn.held.clear();
      turn.copies_dropped = true;
    }
    if (turn.copies_dropped) {
      EndIfDone(slot, turn);
    } else {
      orphans_[{partition->topic, partition->number, turn.source.offset}] = slot;
    }
  }
}

// Nobody has them: the partition's next owner fetches them.
void KafkaShard::DropFetchedAgain(const PartitionPtr& partition) {
  const auto drop = [&](Slot slot) {
    Turn& turn = turns_[slot];
    if (turn.partition != partition) return false;
    partition->AddTurn();  // Free takes one away
    Free(slot, turn);
    return true;
  };
  std::erase_if(again_, drop);
  std::erase_if(parked_, [&](Slot slot) {
    const size_t bytes = turns_[slot].fetched_again->value.size();
    if (!drop(slot)) return false;
    parked_bytes_ -= bytes;
    return true;
  });
}

void KafkaShard::Wake() {
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = write(wake_fd_, &one, sizeof one);  // full: it is awake
}

size_t KafkaShard::open_turns() const {
  std::lock_guard lock(mutex_);
  return turns_.size() - free_.size() - again_.size() - parked_.size();
}

bool KafkaShard::holds_copies() const {
  std::lock_guard lock(mutex_);
  return std::any_of(turns_.begin(), turns_.end(), [](const Turn& turn) { return !turn.held.empty(); });
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
  turn.ended = turn.revocation_told = turn.keyed = turn.host_waits_for_claim = false;
  turn.deferred = turn.copies_dropped = false;
  turn.claim = Claimed::kNo;
  ++turn.generation;
  free_.push_back(slot);
}

void KafkaShard::AddCopy(TurnId id, Turn& turn, CopyKind kind, Record record) {
  ++turn.copies_on_the_way;
  const bool once = shared_.at_most_once && IsEvent(kind);
  shared_.copies.ProduceDurably(std::move(record), CopyReport(this, id, kind), once);
}

void KafkaShard::AddEventCopy(TurnId id, Turn& turn, Copy copy) {
  if (!shared_.at_most_once || turn.claim == Claimed::kDurable) {
    turn.deferred = true;
    turn.marks.Claimed(false);  // they do not tell whether the copy is stored
    return AddCopy(id, turn, copy.kind, std::move(copy.record));
  }
  if (turn.copies_dropped || turn.partition->closed()) {
    orphans_.erase({turn.source.topic, turn.source.partition, turn.source.offset});
    turn.copies_dropped = true;
    return;
  }
  ++turn.copies_on_the_way;
  turn.held.push_back(std::move(copy));
  AskClaim(id, turn);
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
  if (shared_.at_most_once && IsEvent(report.kind) && !status.ok() && status.kind() == ErrorKind::kUncertain) {
    Record letter = LetterFor(shared_.names, shared_.group, turn.source, record(), "in_doubt", kCopyInDoubt);
    shared_.copies.ProduceDurably(std::move(letter), CopyReport(this, report.turn, CopyKind::kDeadLetter));
    return RecordProducer::After::kDone;
  }
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
  if (report.kind == CopyKind::kDeferred) Count(shared_.counters.deferred);
  if (holds) Count(shared_.counters.dead_lettered);
  --turn.copies_on_the_way;
  if (EndIfDone(slot, turn) || report.held != nullptr) Wake();
  return RecordProducer::After::kDone;
}

bool KafkaShard::EndIfDone(Slot slot, Turn& turn) {
  if (!turn.ended || turn.copies_on_the_way > 0) return false;
  if (turn.copies_dropped) {
    turn.ended = false;
    Free(slot, turn);
    return false;
  }
  if (turn.keyed) shared_.keyed->Keep();
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
