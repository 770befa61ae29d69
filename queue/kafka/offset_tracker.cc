#include "queue/kafka/offset_tracker.h"

#include <algorithm>
#include <cassert>
#include <limits>

namespace postbus::kafka {

OffsetTracker::OffsetTracker(const OffsetMap& restored)
    : base_(restored.base), next_(restored.base), complete_end_(restored.end) {
  assert(restored.IsWellFormed());
  entries_.reserve(restored.incomplete.size());
  for (const IncompleteOffset& each : restored.incomplete) {
    entries_.push_back({each.offset, State::kUnseen, each.claimed});
    claimed_ += each.claimed ? 1 : 0;
  }
  live_ = unseen_ = entries_.size();
  // The map ends behind a claimed record if that is the highest, but that one is not complete.
  for (size_t i = entries_.size(); i > 0 && entries_[i - 1].offset == complete_end_ - 1; --i) --complete_end_;
}

bool OffsetTracker::MayDispatch() const {
  // All restored records are below all new ones. So while one is still to come, a new one would have jumped over it: it
  // does not exist any more, and its place is free. Otherwise the map must have room for one more, at any distance.
  return unseen_ > 0 || (live_ < kMaxIncomplete && next_ - base_ < kMaxSpan);
}

Admission OffsetTracker::Begin(int64_t offset) {
  assert(offset >= 0 && offset < std::numeric_limits<int64_t>::max());
  if (offset < next_) return FindLive(offset) != nullptr ? Admission::kInFlight : Admission::kComplete;
  if (refused_ && offset > *refused_) return Admission::kWindowClosed;
  Entry* restored = FindLive(offset);
  const bool is_new = restored == nullptr && offset >= complete_end_;
  if (is_new && !MayDispatch()) {
    refused_ = offset;
    return Admission::kWindowClosed;
  }
  refused_.reset();
  DropUnseenBelow(offset);
  next_ = offset + 1;
  Admission admission = Admission::kComplete;
  if (restored != nullptr) {
    restored->state = State::kInFlight;
    --unseen_;
    admission = restored->claimed ? Admission::kClaimed : Admission::kDispatch;
  } else if (is_new) {
    Append(offset);
    admission = Admission::kDispatch;
  }
  AdvanceBase();
  return admission;
}

Completion OffsetTracker::Complete(int64_t offset) {
  Entry* entry = FindLive(offset);
  if (entry == nullptr) {
    return offset < next_ || offset < complete_end_ ? Completion::kRepeated : Completion::kUnknown;
  }
  Finish(entry);
  complete_end_ = std::max(complete_end_, offset + 1);
  ++completed_;
  ++generation_;
  AdvanceBase();
  return Completion::kCompleted;
}

std::optional<uint64_t> OffsetTracker::Claim(int64_t offset) {
  Entry* entry = FindLive(offset);
  if (entry == nullptr || entry->state != State::kInFlight) return std::nullopt;
  if (!entry->claimed) {
    entry->claimed = true;
    ++claimed_;
    ++generation_;
  }
  return generation_;
}

void OffsetTracker::Unclaim(int64_t offset) {
  Entry* entry = FindLive(offset);
  if (entry == nullptr || entry->state != State::kInFlight || !entry->claimed) return;
  entry->claimed = false;
  --claimed_;
  ++generation_;
}

Snapshot OffsetTracker::Take() const {
  OffsetMap map{base_, std::max(base_, complete_end_), {}};
  if (claimed_ > 0) {
    size_t last = entries_.size() - 1;
    while (entries_[last].state == State::kDone || !entries_[last].claimed) --last;
    map.end = std::max(map.end, entries_[last].offset + 1);
  }
  map.incomplete.reserve(live_);
  for (size_t i = head_; i < entries_.size() && entries_[i].offset < map.end; ++i) {
    if (entries_[i].state != State::kDone) map.incomplete.push_back({entries_[i].offset, entries_[i].claimed});
  }
  return {base_, EncodeOffsetMap(map), generation_, completed_};
}

Snapshot OffsetTracker::TakeBase() const {
  Snapshot snapshot = Take();
  if (snapshot.map.empty()) return snapshot;
  snapshot.map.clear();
  snapshot.generation = committed_generation_;
  const uint64_t above = static_cast<uint64_t>(span()) - live_;
  snapshot.completed -= std::min(snapshot.completed, above);
  return snapshot;
}

void OffsetTracker::Committed(const Snapshot& snapshot) {
  assert(snapshot.generation <= generation_ && snapshot.completed <= completed_);
  committed_generation_ = std::max(committed_generation_, snapshot.generation);
  committed_completed_ = std::max(committed_completed_, snapshot.completed);
}

int64_t OffsetTracker::Backlog(int64_t log_end) const {
  return std::max<int64_t>(0, log_end - Frontier()) + static_cast<int64_t>(live_);
}

OffsetTracker::Entry* OffsetTracker::FindLive(int64_t offset) {
  if (offset >= next_ && unseen_ == 0) return nullptr;  // the usual case in Begin
  const size_t i = LowerBound(offset);
  if (i == entries_.size() || entries_[i].offset != offset || entries_[i].state == State::kDone) return nullptr;
  return &entries_[i];
}

size_t OffsetTracker::LowerBound(int64_t offset) const {
  const auto it = std::lower_bound(entries_.begin() + static_cast<ptrdiff_t>(head_), entries_.end(), offset,
                                   [](const Entry& a, int64_t b) { return a.offset < b; });
  return static_cast<size_t>(it - entries_.begin());
}

int64_t OffsetTracker::Frontier() const {
  const int64_t known = std::max(next_, complete_end_);
  return unseen_ > 0 ? std::max(known, entries_.back().offset + 1) : known;
}

// A fetch has jumped over them to `offset`: their records no longer exist.
void OffsetTracker::DropUnseenBelow(int64_t offset) {
  if (unseen_ == 0 || offset == next_) return;
  for (size_t i = LowerBound(next_); i < entries_.size() && entries_[i].offset < offset; ++i) {
    if (entries_[i].state == State::kDone) continue;
    Finish(&entries_[i]);
    ++generation_;
  }
}

void OffsetTracker::Append(int64_t offset) {
  assert(live_ == 0 || entries_.back().offset < offset);
  if (entries_.size() >= 2 * live_ + 64) {
    const auto is_done = [](const Entry& entry) { return entry.state == State::kDone; };
    entries_.erase(std::remove_if(entries_.begin(), entries_.end(), is_done), entries_.end());
    head_ = 0;
  }
  entries_.push_back({offset, State::kInFlight, false});
  ++live_;
}

void OffsetTracker::Finish(Entry* entry) {
  if (entry->state == State::kUnseen) --unseen_;
  if (entry->claimed) --claimed_;
  entry->state = State::kDone;
  --live_;
}

void OffsetTracker::AdvanceBase() {
  while (head_ < entries_.size() && entries_[head_].state == State::kDone) ++head_;
  const int64_t base = head_ < entries_.size() ? entries_[head_].offset : std::max(next_, complete_end_);
  if (base != base_) ++generation_;
  base_ = base;
}

}  // namespace postbus::kafka
