#include "queue/sqlite/shard.h"

#include <cassert>
#include <utility>

#include "event/clock.h"
#include "queue/utf8_cut.h"

namespace postbus::sqlite {
namespace {

constexpr std::array<int, kPriorities> kWeights = {70, 25, 5};
constexpr size_t kMaxMessageBytes = 512;

}  // namespace

Shard::Shard(Database database, size_t index, Dispenser& dispenser, Writer& writer, Journal& journal,
             const std::unordered_set<int64_t>& old_claims, const QueueLog& log)
    : index_(index),
      dispenser_(dispenser),
      writer_(writer),
      journal_(journal),
      old_claims_(old_claims),
      log_(log),
      database_(std::move(database)) {}

Result<std::unique_ptr<Shard>> Shard::Open(const std::string& path, size_t index, Dispenser& dispenser, Writer& writer,
                                           Journal& journal, const std::unordered_set<int64_t>& old_claims,
                                           const QueueLog& log) {
  Result<Database> database = Database::Open(path);
  if (!database.ok()) return database.TakeStatus();
  std::unique_ptr<Shard> shard(new Shard(std::move(*database), index, dispenser, writer, journal, old_claims, log));
  if (Status prepared = shard->Prepare(); !prepared.ok()) return prepared;
  return shard;
}

Status Shard::Prepare() {
  bool ok = database_.Execute("PRAGMA query_only=ON");
  for (size_t i = 0; i < kPriorities; ++i) {
    read_fresh_[i] = database_.Prepare(Dispenser::kFreshSql[i]);
    ok = ok && read_fresh_[i].prepared();
  }
  read_due_ = database_.Prepare(Dispenser::kDeferredSql);
  return ok && read_due_.prepared() ? Status() : database_.Failure();
}

void Shard::Close() {
  for (Statement& statement : read_fresh_) statement = Statement();
  read_due_ = Statement();
  database_ = Database();
}

bool Shard::Next(QueuedEvent& out, Which which) {
  EventRow row;
  while (consuming_.load()) {
    if (dispenser_.permit().Valid(BootTimeMs())) {
      if (journal_.full()) return false;
      while (TakeRow(which, row)) {
        if (Begin(row, out)) return true;
      }
    }
    if (which == Which::kHighOnly) return false;  // it is not idle: the others wait for it
    if (dispenser_.MayIdle(index_)) return false;
  }
  return false;
}

// Smooth weighted round robin: of the priorities that have some each earns its weight, the richest pays for all.
bool Shard::TakeRow(Which which, EventRow& row) {
  int earned = 0;
  Lane* richest = nullptr;
  const size_t lanes = which == Which::kHighOnly ? 1 : kPriorities;
  for (size_t i = 0; i < lanes; ++i) {
    Lane& lane = lanes_[i];
    const Priority priority = static_cast<Priority>(i);
    if (lane.fresh.empty()) dispenser_.LeaseFresh(priority, database_, read_fresh_[i], lane.fresh);
    if (lane.due.empty()) dispenser_.LeaseDue(priority, database_, read_due_, lane.due);
    if (lane.empty()) continue;
    lane.credit += kWeights[i];
    earned += kWeights[i];
    if (richest == nullptr || lane.credit > richest->credit) richest = &lane;
  }
  if (richest == nullptr) return false;
  richest->credit -= earned;
  const bool due = !richest->due.empty() && (richest->fresh.empty() || richest->due_next);
  richest->due_next = !due;
  std::deque<EventRow>& rows = due ? richest->due : richest->fresh;
  row = std::move(rows.front());
  rows.pop_front();
  return true;
}

bool Shard::Begin(EventRow& row, QueuedEvent& out) {
  Turn turn;
  turn.settlement.row = row.ref;
  const TurnId id = static_cast<TurnId>(row.ref.seq);
  const uint64_t fingerprint = Journal::Fingerprint(row.headers, row.ref.seq, row.value.size());
  Result<EventHeaders> headers = HeadersFromText(row.headers);
  const Origin here{"sqlite", 0, row.ref.seq};
  if (headers.ok() && headers->format > EventHeaders::kFormat) {
    log_(LogLevel::kError, "event " + here.DerivedId() + " has format " + std::to_string(headers->format) +
                               " and stays in the queue file: start the newer postbus that wrote it");
    return false;
  }
  if (!headers.ok()) {
    turn.headers.id = here.DerivedId();
    turn.headers.origin = here;
    CountTurn(row.ref, 1);
    turns_.emplace(id, std::move(turn));
    DeadLetter(id, {.recipients = {},
                    .attempt = 0,
                    .outcome_class = "invalid_headers",
                    .message = headers.status().message(),
                    .id = {},
                    .value = row.value});
    Complete(id);
    return false;
  }
  turn.headers = std::move(*headers);
  if (turn.headers.origin.offset < 0) turn.headers.origin = here;
  // Shards share the journal: another one may have taken the last slot. Such a turn goes without.
  out.marks = {};
  static_cast<void>(journal_.Begin(row.ref.seq, fingerprint, out.marks, out.past));
  turn.settlement.marks = out.marks;
  turn.settlement.claimed = old_claims_.contains(row.ref.seq);
  turn.claimed_by_another = turn.settlement.claimed && !out.past.claim_is_ours;
  out.past.claimed = turn.claimed_by_another;
  out.turn = id;
  out.priority = row.ref.priority;
  out.value = std::move(row.value);
  out.headers = turn.headers;
  out.permit = &dispenser_.permit();
  turns_.emplace(id, std::move(turn));
  consumed_.fetch_add(1);
  CountTurn(row.ref, 1);
  return true;
}

void Shard::Defer(TurnId turn_id, const DeferredCopy& copy) {
  Turn& turn = turns_.at(turn_id);
  EventHeaders headers = turn.headers;
  headers.recipients = copy.recipients;
  headers.due_unix_ms = copy.due_unix_ms;
  headers.attempt = copy.attempt;
  headers.outcome_class = copy.outcome_class;
  turn.settlement.deferred.push_back({copy.due_unix_ms, HeadersToText(headers), std::string(copy.value)});
}

void Shard::DeadLetter(TurnId turn_id, const DeadLetterCopy& copy) {
  Turn& turn = turns_.at(turn_id);
  EventHeaders headers = turn.headers;
  headers.recipients = copy.recipients;
  headers.attempt = copy.attempt;
  headers.outcome_class = copy.outcome_class;
  if (headers.id.empty()) headers.id = copy.id;
  const std::string_view message = CutUtf8(copy.message, kMaxMessageBytes);
  turn.settlement.dead_letters.push_back(
      {headers.id, std::string(message), HeadersToText(headers), std::string(copy.value)});
}

void Shard::Report(TurnId turn_id, const StatusRecord& record) {
  StatusRow row{record.id, record.at_unix_ms, {}, {}};
  // A first attempt is found through the row of when it was accepted; replaying a dead letter writes one without
  // hashes.
  if (record.replay > 0) row.recipient_hashes = record.recipient_hashes;
  EncodeStatus(record, row.record);
  turns_.at(turn_id).settlement.statuses.push_back(std::move(row));
}

void Shard::Complete(TurnId turn_id) {
  const auto turn = turns_.find(turn_id);
  assert(turn != turns_.end());
  work_.settlements.push_back(std::move(turn->second.settlement));
  turns_.erase(turn);
}

void Shard::Abandon(TurnId turn_id) {
  const auto turn = turns_.find(turn_id);
  assert(turn != turns_.end());
  Unclaim(turn_id);
  CountTurn(turn->second.settlement.row, -1);
  if (turn->second.settlement.marks.slot() != nullptr) journal_.Abandon(turn->second.settlement.marks);
  turns_.erase(turn);  // its row stays: the next host begins it again
}

void Shard::TakeRevoked(std::vector<TurnId>&) {}  // nobody can take the file from a living host

void Shard::Claim(TurnId turn_id) {
  Turn& turn = turns_.at(turn_id);
  ++turn.claims_on_the_way;
  if (std::exchange(turn.settlement.claimed, true)) {  // since before the last restart
    return dispenser_.Claimed(index_, turn.settlement.row.seq);
  }
  work_.claims.push_back({turn.settlement.row.seq, true, index_});
}

void Shard::Unclaim(TurnId turn_id) {
  Turn& turn = turns_.at(turn_id);
  if (!turn.settlement.claimed || turn.claimed_by_another) return;
  turn.settlement.claimed = false;
  turn.settlement.marks.Claimed(false);  // before the file says so
  work_.claims.push_back({turn.settlement.row.seq, false, index_});
}

void Shard::TakeClaimed(std::vector<TurnId>& turns) {
  written_.clear();
  dispenser_.TakeClaimed(index_, written_);
  for (const TurnId id : written_) {
    const auto turn = turns_.find(id);
    // Taken back in the meantime and asked for anew, it is durable with the last of its claims.
    if (turn == turns_.end() || --turn->second.claims_on_the_way > 0 || !turn->second.settlement.claimed) continue;
    turn->second.settlement.marks.Claimed(true);
    turns.push_back(id);
  }
}

void Shard::Flush() {
  if (work_.empty()) return;
  for (const Settlement& settlement : work_.settlements) CountTurn(settlement.row, -1);
  writer_.Settle(std::exchange(work_, {}));
}

void Shard::CountTurn(const RowRef& row, int64_t change) {
  (row.deferred ? deferred_turns_ : fresh_turns_).fetch_add(change);
}

}  // namespace postbus::sqlite
