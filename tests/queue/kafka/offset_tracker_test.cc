#include "queue/kafka/offset_tracker.h"

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <limits>
#include <new>
#include <optional>
#include <ostream>
#include <random>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace {
uint64_t g_allocations = 0;
}

// Not inlined: gcc would see free() called on what comes from new.
[[gnu::noinline]] void* operator new(size_t size) {
  ++g_allocations;
  if (void* memory = std::malloc(size)) return memory;
  throw std::bad_alloc();
}
[[gnu::noinline]] void operator delete(void* memory) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, size_t) noexcept { std::free(memory); }

namespace postbus::kafka {

// For readable failures.
void PrintTo(Admission admission, std::ostream* out) {
  constexpr const char* kNames[] = {"kDispatch", "kClaimed", "kComplete", "kInFlight", "kWindowClosed"};
  *out << kNames[static_cast<int>(admission)];
}
void PrintTo(Completion completion, std::ostream* out) {
  constexpr const char* kNames[] = {"kCompleted", "kRepeated", "kUnknown"};
  *out << kNames[static_cast<int>(completion)];
}

namespace {

constexpr LogRange kAnyLog{0, std::numeric_limits<int64_t>::max()};

OffsetMap Read(const Snapshot& snapshot) {
  const DecodedOffsetMap decoded = DecodeOffsetMap(snapshot.map, snapshot.base, kAnyLog);
  EXPECT_TRUE(decoded.verdict == MapVerdict::kUsed || decoded.verdict == MapVerdict::kEmpty) << snapshot.map;
  EXPECT_LE(snapshot.map.size(), kMaxMapText);
  return decoded.map;
}

// What a snapshot says of the offsets from its base on: '.' complete, 'i' incomplete, 'c' claimed.
std::string States(const OffsetTracker& tracker) {
  const OffsetMap map = Read(tracker.Take());
  std::string states(static_cast<size_t>(map.end - map.base), '.');
  for (const IncompleteOffset& each : map.incomplete) {
    states[static_cast<size_t>(each.offset - map.base)] = each.claimed ? 'c' : 'i';
  }
  return states;
}

OffsetMap MapOf(int64_t base, std::string_view states) {
  OffsetMap map = OffsetMap::StartingAt(base);
  for (const char state : states) {
    if (state != '.') map.incomplete.push_back({map.end, state == 'c'});
    ++map.end;
  }
  return map;
}

void Dispatch(OffsetTracker* tracker, int64_t first, int64_t last) {
  for (int64_t offset = first; offset <= last; ++offset) {
    ASSERT_TRUE(tracker->MayDispatch()) << offset;
    ASSERT_EQ(tracker->Begin(offset), Admission::kDispatch) << offset;
  }
}

TEST(OffsetTrackerTest, InOrder) {
  OffsetTracker tracker(OffsetMap::StartingAt(100));
  EXPECT_EQ(tracker.base(), 100);
  EXPECT_FALSE(tracker.dirty());
  for (int64_t offset = 100; offset < 110; ++offset) {
    EXPECT_EQ(tracker.Begin(offset), Admission::kDispatch);
    EXPECT_EQ(tracker.base(), offset);
    EXPECT_EQ(tracker.Complete(offset), Completion::kCompleted);
    EXPECT_EQ(tracker.base(), offset + 1);
  }
  EXPECT_TRUE(tracker.dirty());
  EXPECT_EQ(tracker.Take().base, 110);
  EXPECT_EQ(tracker.Take().map, "");
}

TEST(OffsetTrackerTest, DispatchAloneIsNothingToCommit) {
  OffsetTracker tracker(OffsetMap::StartingAt(100));
  Dispatch(&tracker, 100, 104);
  EXPECT_FALSE(tracker.dirty());
  EXPECT_EQ(tracker.Take().base, 100);
  EXPECT_EQ(tracker.Take().map, "");
}

TEST(OffsetTrackerTest, OutOfOrder) {
  OffsetTracker tracker(OffsetMap::StartingAt(100));
  Dispatch(&tracker, 100, 109);
  for (const int64_t offset : {103, 101, 107}) {
    EXPECT_EQ(tracker.Complete(offset), Completion::kCompleted);
    EXPECT_TRUE(tracker.dirty());
    tracker.Committed(tracker.Take());
    EXPECT_FALSE(tracker.dirty());
  }
  EXPECT_EQ(tracker.base(), 100);
  EXPECT_EQ(States(tracker), "i.i.iii.");
  tracker.Complete(100);
  EXPECT_EQ(tracker.base(), 102);
  EXPECT_EQ(States(tracker), "i.iii.");
  for (const int64_t offset : {109, 108, 106, 105, 104, 102}) tracker.Complete(offset);
  EXPECT_EQ(tracker.base(), 110);
  EXPECT_EQ(States(tracker), "");
  EXPECT_EQ(tracker.in_flight(), 0u);
}

TEST(OffsetTrackerTest, RestoredMap) {
  OffsetTracker tracker(MapOf(100, "i..ic.ic"));
  EXPECT_FALSE(tracker.dirty());
  EXPECT_EQ(tracker.in_flight(), 0u);
  EXPECT_EQ(tracker.incomplete(), 5u);
  EXPECT_EQ(States(tracker), "i..ic.ic");
  constexpr Admission kExpected[] = {
      Admission::kDispatch, Admission::kComplete, Admission::kComplete, Admission::kDispatch, Admission::kClaimed,
      Admission::kComplete, Admission::kDispatch, Admission::kClaimed,  Admission::kDispatch, Admission::kDispatch};
  int64_t offset = 100;
  for (const Admission expected : kExpected) EXPECT_EQ(tracker.Begin(offset++), expected) << offset - 1;
  EXPECT_FALSE(tracker.dirty());
  EXPECT_EQ(States(tracker), "i..ic.ic");
  EXPECT_EQ(tracker.in_flight(), 7u);
  for (const int64_t each : {100, 103, 104, 106, 107}) EXPECT_EQ(tracker.Complete(each), Completion::kCompleted);
  EXPECT_EQ(tracker.base(), 108);
  EXPECT_EQ(States(tracker), "");
}

TEST(OffsetTrackerTest, CompletedTwice) {
  OffsetTracker tracker(OffsetMap::StartingAt(100));
  Dispatch(&tracker, 100, 103);
  EXPECT_EQ(tracker.Complete(102), Completion::kCompleted);
  EXPECT_EQ(tracker.Complete(102), Completion::kRepeated);
  EXPECT_EQ(tracker.Complete(100), Completion::kCompleted);
  EXPECT_EQ(tracker.Complete(100), Completion::kRepeated);
  EXPECT_EQ(tracker.Complete(7), Completion::kRepeated);
  EXPECT_EQ(tracker.uncommitted(), 2u);
  EXPECT_EQ(tracker.in_flight(), 2u);
  EXPECT_EQ(States(tracker), "i.");
}

TEST(OffsetTrackerTest, LateCompletionOfAnEarlierAssignment) {
  OffsetTracker tracker(MapOf(100, "i.ii."));
  EXPECT_EQ(tracker.Complete(103), Completion::kCompleted);  // restored, not fetched yet
  EXPECT_EQ(tracker.Complete(101), Completion::kRepeated);
  EXPECT_EQ(tracker.Complete(105), Completion::kUnknown);  // nobody knows yet whether there is such a record
  EXPECT_EQ(States(tracker), "i.i..");
  EXPECT_EQ(tracker.Begin(100), Admission::kDispatch);
  EXPECT_EQ(tracker.Begin(101), Admission::kComplete);
  EXPECT_EQ(tracker.Begin(102), Admission::kDispatch);
  EXPECT_EQ(tracker.Begin(103), Admission::kComplete);
  EXPECT_EQ(tracker.Begin(104), Admission::kComplete);
  EXPECT_EQ(tracker.Begin(105), Admission::kDispatch);
  EXPECT_EQ(tracker.Complete(105), Completion::kCompleted);  // who has remembered it tells it now
  EXPECT_EQ(States(tracker), "i.i...");
}

TEST(OffsetTrackerTest, AllRestoredCompleteBeforeTheFetch) {
  OffsetTracker tracker(MapOf(100, "i.i."));
  tracker.Complete(102);
  tracker.Complete(100);
  EXPECT_EQ(tracker.base(), 104);
  for (int64_t offset = 100; offset < 104; ++offset) EXPECT_EQ(tracker.Begin(offset), Admission::kComplete);
  EXPECT_EQ(tracker.Begin(104), Admission::kDispatch);
  EXPECT_EQ(tracker.base(), 104);
}

TEST(OffsetTrackerTest, GapsAreComplete) {
  OffsetTracker tracker(OffsetMap::StartingAt(100));
  EXPECT_EQ(tracker.Begin(105), Admission::kDispatch);
  EXPECT_EQ(tracker.base(), 105);
  EXPECT_TRUE(tracker.dirty());
  EXPECT_EQ(tracker.uncommitted(), 0u);
  EXPECT_EQ(tracker.Begin(107), Admission::kDispatch);
  EXPECT_EQ(tracker.Begin(110), Admission::kDispatch);
  tracker.Complete(110);
  EXPECT_EQ(States(tracker), "i.i...");
  tracker.Complete(105);
  EXPECT_EQ(tracker.base(), 107);
  tracker.Complete(107);
  EXPECT_EQ(tracker.base(), 111);
  EXPECT_EQ(tracker.Begin(int64_t{1} << 60), Admission::kDispatch);
  EXPECT_EQ(tracker.base(), int64_t{1} << 60);
}

TEST(OffsetTrackerTest, RestoredRecordsThatAreGone) {
  OffsetTracker tracker(MapOf(100, "i.ici.ic"));
  EXPECT_EQ(tracker.Begin(102), Admission::kDispatch);
  EXPECT_EQ(tracker.base(), 102);
  EXPECT_EQ(tracker.Begin(105), Admission::kComplete);
  EXPECT_EQ(States(tracker), "i...ic");
  EXPECT_EQ(tracker.Begin(200), Admission::kDispatch);
  EXPECT_EQ(tracker.incomplete(), 2u);
  EXPECT_EQ(States(tracker), "i...");
  tracker.Complete(102);
  EXPECT_EQ(tracker.base(), 200);
  EXPECT_EQ(tracker.uncommitted(), 1u);
}

TEST(OffsetTrackerTest, SeenAgain) {
  OffsetTracker tracker(OffsetMap::StartingAt(100));
  Dispatch(&tracker, 100, 104);
  tracker.Complete(100);
  tracker.Complete(103);
  const Snapshot before = tracker.Take();
  EXPECT_EQ(tracker.Begin(99), Admission::kComplete);
  EXPECT_EQ(tracker.Begin(100), Admission::kComplete);
  EXPECT_EQ(tracker.Begin(101), Admission::kInFlight);
  EXPECT_EQ(tracker.Begin(103), Admission::kComplete);  // 102 is in flight all the same
  EXPECT_EQ(tracker.Begin(102), Admission::kInFlight);
  EXPECT_EQ(tracker.Take().generation, before.generation);
  EXPECT_EQ(tracker.Begin(105), Admission::kDispatch);
  EXPECT_EQ(tracker.in_flight(), 4u);
}

TEST(OffsetTrackerTest, ClaimIsInTheMapBeforeItMayBeSent) {
  OffsetTracker tracker(OffsetMap::StartingAt(100));
  Dispatch(&tracker, 100, 103);
  const std::optional<uint64_t> first = tracker.Claim(102);
  ASSERT_TRUE(first);
  EXPECT_GT(*first, tracker.committed_generation());
  const Snapshot snapshot = tracker.Take();
  const std::optional<uint64_t> second = tracker.Claim(103);
  tracker.Committed(snapshot);
  EXPECT_GE(tracker.committed_generation(), *first);
  EXPECT_LT(tracker.committed_generation(), *second);
  EXPECT_EQ(States(tracker), "iicc");
  EXPECT_EQ(Read(snapshot), MapOf(100, "iic"));

  OffsetTracker next_owner(Read(snapshot));
  EXPECT_EQ(next_owner.Begin(100), Admission::kDispatch);
  EXPECT_EQ(next_owner.Begin(101), Admission::kDispatch);
  EXPECT_EQ(next_owner.Begin(102), Admission::kClaimed);
  EXPECT_EQ(next_owner.Begin(102), Admission::kInFlight);
  EXPECT_EQ(next_owner.Begin(103), Admission::kDispatch);
  EXPECT_EQ(next_owner.Complete(102), Completion::kCompleted);
  EXPECT_EQ(States(next_owner), "ii.");
}

TEST(OffsetTrackerTest, ClaimTakenBack) {
  OffsetTracker tracker(OffsetMap::StartingAt(100));
  Dispatch(&tracker, 100, 103);
  ASSERT_TRUE(tracker.Claim(102));
  tracker.Committed(tracker.Take());
  tracker.Unclaim(102);
  EXPECT_TRUE(tracker.dirty());
  EXPECT_EQ(States(tracker), "");
  EXPECT_FALSE(Read(tracker.Take()).IsComplete(102));
  tracker.Unclaim(999);
  const std::optional<uint64_t> again = tracker.Claim(102);
  EXPECT_GT(*again, tracker.committed_generation());
  EXPECT_EQ(States(tracker), "iic");
  tracker.Complete(102);
  EXPECT_EQ(States(tracker), "ii.");
}

TEST(OffsetTrackerTest, OnlyWhatIsInFlightCanBeClaimed) {
  OffsetTracker tracker(MapOf(100, "iic."));
  EXPECT_FALSE(tracker.Claim(100));  // not fetched yet
  EXPECT_FALSE(tracker.Claim(103));
  EXPECT_FALSE(tracker.Claim(104));
  tracker.Begin(100);
  tracker.Begin(101);
  tracker.Begin(102);
  EXPECT_EQ(tracker.Claim(102), tracker.committed_generation());  // restored: durable already
  EXPECT_TRUE(tracker.Claim(101));
  tracker.Complete(100);
  EXPECT_FALSE(tracker.Claim(100));
  EXPECT_EQ(States(tracker), "cc.");
}

TEST(OffsetTrackerTest, WindowOfIncompletes) {
  OffsetTracker tracker(OffsetMap::StartingAt(0));
  Dispatch(&tracker, 0, kMaxIncomplete - 1);
  EXPECT_FALSE(tracker.MayDispatch());
  const Snapshot before = tracker.Take();
  EXPECT_EQ(tracker.Begin(1003), Admission::kWindowClosed);
  EXPECT_EQ(tracker.Begin(1003), Admission::kWindowClosed);
  EXPECT_EQ(tracker.Take().generation, before.generation);
  EXPECT_EQ(tracker.in_flight(), kMaxIncomplete);
  EXPECT_EQ(tracker.span(), 1000);
  EXPECT_EQ(tracker.Begin(500), Admission::kInFlight);
  tracker.Complete(500);
  EXPECT_TRUE(tracker.MayDispatch());
  EXPECT_EQ(tracker.Begin(1004), Admission::kWindowClosed);  // 1003 was dropped: the partition stops, nothing is lost
  EXPECT_EQ(tracker.Begin(1003), Admission::kDispatch);
  EXPECT_FALSE(tracker.MayDispatch());
  tracker.Complete(3);
  EXPECT_EQ(tracker.Begin(1004), Admission::kDispatch);
}

TEST(OffsetTrackerTest, WindowOfSpan) {
  OffsetTracker tracker(OffsetMap::StartingAt(0));
  Dispatch(&tracker, 0, 0);
  for (int64_t offset = 1; offset < kMaxSpan; ++offset) {
    ASSERT_EQ(tracker.Begin(offset), Admission::kDispatch);
    if (offset == 7) continue;
    ASSERT_EQ(tracker.Complete(offset), Completion::kCompleted);
  }
  EXPECT_FALSE(tracker.MayDispatch());
  EXPECT_EQ(tracker.Begin(kMaxSpan), Admission::kWindowClosed);
  EXPECT_EQ(tracker.span(), kMaxSpan);
  EXPECT_EQ(tracker.in_flight(), 2u);
  tracker.Complete(0);
  EXPECT_EQ(tracker.base(), 7);
  EXPECT_TRUE(tracker.MayDispatch());
  EXPECT_EQ(tracker.Begin(kMaxSpan), Admission::kDispatch);
}

// A gap may lead anywhere, and by then the record has been fetched.
TEST(OffsetTrackerTest, FarJumpFitsTheMap) {
  OffsetTracker tracker(OffsetMap::StartingAt(0));
  for (int64_t i = 0; i < 999; ++i) ASSERT_EQ(tracker.Begin(i * 8396), Admission::kDispatch);
  ASSERT_TRUE(tracker.MayDispatch());
  const int64_t far = std::numeric_limits<int64_t>::max() - 1;
  EXPECT_EQ(tracker.Begin(far), Admission::kDispatch);
  EXPECT_FALSE(tracker.MayDispatch());
  for (int64_t i = 0; i < 999; ++i) ASSERT_TRUE(tracker.Claim(i * 8396));
  ASSERT_TRUE(tracker.Claim(far));
  const OffsetMap map = Read(tracker.Take());
  EXPECT_EQ(map.incomplete.size(), 1000u);
  OffsetTracker next_owner(map);
  for (int64_t i = 0; i < 999; ++i) ASSERT_EQ(next_owner.Begin(i * 8396), Admission::kClaimed);
  EXPECT_EQ(next_owner.Begin(far), Admission::kClaimed);
  EXPECT_FALSE(next_owner.MayDispatch());
  tracker.Complete(far);
  EXPECT_FALSE(tracker.MayDispatch());  // 999 in flight, but the next offset is far above the base
  for (int64_t i = 0; i < 999; ++i) tracker.Complete(i * 8396);
  EXPECT_TRUE(tracker.MayDispatch());
  EXPECT_EQ(tracker.base(), far + 1);
}

TEST(OffsetTrackerTest, FullRestoredMapIsTaken) {
  OffsetMap map = OffsetMap::StartingAt(0);
  for (int64_t i = 0; i < static_cast<int64_t>(kMaxIncomplete); ++i) map.incomplete.push_back({2 * i, false});
  map.end = 2003;
  OffsetTracker tracker(map);
  for (int64_t i = 0; i < 999; ++i) {
    ASSERT_TRUE(tracker.MayDispatch()) << i;
    ASSERT_EQ(tracker.Begin(2 * i), Admission::kDispatch);
    ASSERT_EQ(tracker.Begin(2 * i + 1), Admission::kComplete);
  }
  EXPECT_TRUE(tracker.MayDispatch());
  EXPECT_EQ(tracker.in_flight(), 999u);
  {
    OffsetTracker jump(Read(tracker.Take()));
    for (int64_t i = 0; i < 999; ++i) ASSERT_EQ(jump.Begin(2 * i), Admission::kDispatch);
    EXPECT_TRUE(jump.MayDispatch());
    EXPECT_EQ(jump.Begin(5000), Admission::kDispatch);  // in the place of 1998, which does not exist any more
    EXPECT_EQ(jump.in_flight(), kMaxIncomplete);
    EXPECT_FALSE(jump.MayDispatch());
  }
  EXPECT_EQ(tracker.Begin(1998), Admission::kDispatch);
  EXPECT_FALSE(tracker.MayDispatch());
  EXPECT_EQ(tracker.Begin(2002), Admission::kComplete);  // known to be complete: needs no room
  EXPECT_EQ(tracker.Begin(2003), Admission::kWindowClosed);
  tracker.Complete(0);
  EXPECT_EQ(tracker.Begin(2003), Admission::kDispatch);
}

TEST(OffsetTrackerTest, UncommittedCountsWhatNoAcknowledgedCommitSays) {
  OffsetTracker tracker(OffsetMap::StartingAt(0));
  Dispatch(&tracker, 0, 9);
  tracker.Complete(4);
  tracker.Complete(5);
  const Snapshot first = tracker.Take();
  tracker.Complete(0);
  EXPECT_EQ(tracker.uncommitted(), 3u);
  const Snapshot failed = tracker.Take();
  (void)failed;
  tracker.Committed(first);
  EXPECT_EQ(tracker.uncommitted(), 1u);
  EXPECT_TRUE(tracker.dirty());
  const Snapshot last = tracker.Take();
  tracker.Committed(last);
  EXPECT_EQ(tracker.uncommitted(), 0u);
  EXPECT_FALSE(tracker.dirty());
  tracker.Committed(first);  // an answer that comes late takes nothing back
  EXPECT_EQ(tracker.uncommitted(), 0u);
  EXPECT_FALSE(tracker.dirty());
}

TEST(OffsetTrackerTest, CommitWithoutMapVouchesForTheBaseOnly) {
  OffsetTracker tracker(OffsetMap::StartingAt(0));
  Dispatch(&tracker, 0, 9);
  for (const int64_t offset : {0, 1, 4, 5, 7}) tracker.Complete(offset);
  const std::optional<uint64_t> claim = tracker.Claim(8);
  const Snapshot snapshot = tracker.TakeBase();
  EXPECT_EQ(snapshot.base, 2);
  EXPECT_EQ(snapshot.map, "");
  tracker.Committed(snapshot);
  EXPECT_EQ(tracker.uncommitted(), 3u);
  EXPECT_LT(tracker.committed_generation(), *claim);
  EXPECT_TRUE(tracker.dirty());
  for (const int64_t offset : {2, 3, 6, 8, 9}) tracker.Complete(offset);
  EXPECT_EQ(tracker.uncommitted(), 8u);
  tracker.Committed(tracker.TakeBase());
  EXPECT_EQ(tracker.uncommitted(), 0u);
  EXPECT_FALSE(tracker.dirty());
}

TEST(OffsetTrackerTest, BacklogAndSpan) {
  OffsetTracker tracker(MapOf(100, "i..ic"));
  EXPECT_EQ(tracker.span(), 5);
  EXPECT_EQ(tracker.Backlog(110), 3 + 5);
  EXPECT_EQ(tracker.Backlog(105), 3);
  EXPECT_EQ(tracker.Backlog(0), 3);  // an old high watermark
  for (int64_t offset = 100; offset <= 107; ++offset) tracker.Begin(offset);
  EXPECT_EQ(tracker.span(), 8);
  EXPECT_EQ(tracker.Backlog(110), 3 + 5);
  tracker.Complete(100);
  tracker.Complete(107);
  EXPECT_EQ(tracker.base(), 103);
  EXPECT_EQ(tracker.span(), 5);
  EXPECT_EQ(tracker.Backlog(110), 6);
  EXPECT_EQ(tracker.in_flight(), 4u);
}

TEST(OffsetTrackerTest, SteadyStateDoesNotAllocate) {
  OffsetTracker tracker(OffsetMap::StartingAt(0));
  std::mt19937_64 random(1);
  std::vector<int64_t> running;
  running.reserve(kMaxIncomplete);
  int64_t next = 0;
  const auto run = [&](int steps) {
    for (int i = 0; i < steps; ++i) {
      while (running.size() < 900 && tracker.MayDispatch()) {
        if (tracker.Begin(next) == Admission::kDispatch) running.push_back(next);
        ++next;
      }
      std::swap(running[random() % running.size()], running.back());
      ASSERT_EQ(tracker.Complete(running.back()), Completion::kCompleted);
      running.pop_back();
    }
  };
  run(20'000);
  const uint64_t before = g_allocations;
  run(200'000);
  EXPECT_EQ(g_allocations, before);
  for (const int64_t offset : running) tracker.Complete(offset);
  EXPECT_EQ(tracker.base(), next);
}

}  // namespace
}  // namespace postbus::kafka
