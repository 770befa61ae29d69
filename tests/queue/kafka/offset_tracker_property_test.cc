// Random lives of one partition against a model: fetches, completions, claims, commits that succeed, fail or lose their
// answer, crashes, revocations with jobs that go on, gaps, records that vanish, foreign and stale metadata.
//
// What must hold in all of them:
//   - a commit vouches for exactly the records whose turn is over, so no record is ever skipped;
//   - records dispatched again <= completed after the last commit + in flight, at each death of a tracker;
//   - a durable claim is never sent again, unless the journal of the host that made it proves that it was not sent; at
//     most once means once, whoever of two hosts gets the partition;
//   - a map is at most kMaxMapText bytes; at most kMaxIncomplete records are in flight; the partition never gets stuck.
//
// POSTBUS_PROPERTY_RUNS schedules (100 000) from POSTBUS_PROPERTY_SEED (1) on. A failure names the seed of its
// schedule: repeat it with that seed and one run.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <iterator>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "queue/kafka/offset_map.h"
#include "queue/kafka/offset_tracker.h"

namespace postbus::kafka {
namespace {

class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed * 0x9e3779b97f4a7c15) {}

  uint64_t Next() {  // splitmix64
    uint64_t z = (state_ += 0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
  }
  size_t Below(size_t limit) { return static_cast<size_t>(Next() % limit); }
  bool Percent(size_t percent) { return Below(100) < percent; }

 private:
  uint64_t state_;
};

void Require(bool condition, const char* what) {
  if (!condition) throw std::runtime_error(what);
}

// The model: what is known of each record of the log, by its index. No offsets, no window, no encoding.
struct Model {
  enum State : char { kUnseen, kRunning, kDone };

  std::vector<State> state;
  std::vector<char> claimed;
  size_t begun = 0;        // records before this index were fetched or do not exist
  uint64_t completed = 0;  // in this life

  Admission Begin(size_t i) {
    begun = std::max(begun, i + 1);
    if (state[i] != kUnseen) return state[i] == kDone ? Admission::kComplete : Admission::kInFlight;
    state[i] = kRunning;
    return claimed[i] ? Admission::kClaimed : Admission::kDispatch;
  }
  void Complete(size_t i) {
    state[i] = kDone;
    claimed[i] = false;
    ++completed;
  }
  Model NextLife() const {
    Model next = *this;
    std::replace(next.state.begin(), next.state.end(), kRunning, kUnseen);
    next.begun = 0;
    next.completed = 0;
    return next;
  }
};

struct Totals {
  uint64_t begun = 0, again = 0, commits = 0, deaths = 0, ignored = 0, used = 0, closed = 0, claimed = 0, unknown = 0;
  uint64_t proven = 0, handed_back = 0;
  size_t longest = 0, most_in_flight = 0;
};

class Schedule {
 public:
  Schedule(uint64_t seed, Totals* totals) : random_(seed), totals_(totals) {
    const size_t kind = random_.Below(1000);
    const size_t records = kind < 850 ? 1 + random_.Below(60) : kind < 985 ? 300 : 3000;
    burst_ = 1 + random_.Below(kind < 850 ? 12 : kind < 985 ? 120 : 3000);
    constexpr int64_t kBases[] = {0, 1, 5000, int64_t{1} << 31, int64_t{1} << 53};
    int64_t offset = kBases[random_.Below(std::size(kBases))];
    stored_.base = offset;
    size_t gap_percent = random_.Percent(50) ? 0 : random_.Below(60);
    size_t gap_width = random_.Below(random_.Percent(80) ? 3 : 44);
    if (random_.Percent(10)) {  // as far apart as 1000 in flight may be
      gap_percent = 100;
      gap_width = 13;
    }
    for (size_t i = 0; i < records; ++i) {
      if (random_.Percent(gap_percent)) offset += 1 + static_cast<int64_t>(random_.Below(size_t{1} << gap_width));
      log_.push_back(offset++);
    }
    claim_percent_ = random_.Percent(60) ? 0 : random_.Percent(50) ? 100 : 30;
    for (size_t i = 0; i < records; ++i) at_most_once_.push_back(random_.Percent(claim_percent_));
    for (std::vector<char>& unsent : journal_) unsent.resize(records);
    gone_.resize(records);
    settled_.resize(records);
    sent_.resize(records);
    stored_.model.state.resize(records);
    stored_.model.claimed.resize(records);
    for (size_t& weight : weights_) weight = 1 + random_.Below(30);
    rare_ = random_.Below(4);
  }

  void Run() {
    Restart();
    const size_t steps = 10 + random_.Below(2 * log_.size() + 100) / (burst_ / 8 + 1);
    for (size_t i = 0; i < steps; ++i) Step();
    visible_ = log_.size();
    obedient_ = true;
    for (size_t i = 0; i < log_.size() + 10 && (position_ < visible_ || !jobs_.empty() || tracker_->dirty()); ++i) {
      Fetch(log_.size());
      for (int round = 0; round < 2; ++round) {  // claim and commit, send and complete
        for (size_t job = jobs_.size(); job > 0; --job) Work(job - 1, /*hurry=*/true);
        pending_.reset();
        Commit();
        Answer(/*stored=*/true, /*known=*/true);
      }
    }
    Require(jobs_.empty() && tracker_->in_flight() == 0, "drained");
    for (size_t i = 0; i < log_.size(); ++i) Require(settled_[i] || gone_[i], "nothing is skipped");
    Require(tracker_->uncommitted() == 0 && !tracker_->dirty(), "all is committed");
  }

 private:
  struct Commitment {  // what the group coordinator stores, and what the model says of it
    int64_t base = 0;
    std::string map;
    Model model;
    bool sound = true;  // the map is one of ours for this base
  };
  struct Pending {
    Snapshot snapshot;
    Model model;
  };
  struct Job {
    size_t i = 0;
    bool sent = false;  // past the point of no return, or settled without sending
    std::optional<uint64_t> claim;
    bool elsewhere = false;  // on a host that has lost the partition: nobody is told
  };

  void Step() {
    size_t total = 0;
    for (const size_t weight : weights_) total += weight;
    size_t pick = random_.Below(total);
    size_t what = 0;
    while (pick >= weights_[what]) pick -= weights_[what++];
    switch (what) {
      case 0:
        visible_ = std::min(log_.size(), visible_ + random_.Below(2 * burst_));
        return Fetch(1 + random_.Below(burst_));
      case 1:
        for (size_t n = random_.Below(burst_) + 1; n > 0 && !jobs_.empty(); --n) {
          Work(random_.Below(jobs_.size()), /*hurry=*/false);
        }
        return;
      case 2:
        if (!pending_) return Commit();
        return Answer(/*stored=*/random_.Percent(80), /*known=*/random_.Percent(80));
      default:
        if (random_.Below(10) > rare_) return;
        switch (random_.Below(10)) {
          case 0:
          case 1:
            return Die(/*crash=*/true);
          case 2:
          case 3:
            return Die(/*crash=*/false);
          case 4:
            position_ = random_.Below(position_ + 1);  // the fetch goes back, as after a seek or a lost response
            position_ = std::max(position_, first_);
            return;
          case 5:
            return Vanish();
          case 6:
            if (random_.Percent(30)) Tamper();
            return;
          case 7:
            if (random_.Percent(30)) Rewind();
            return;
          case 8:
            if (straggler_ && random_.Percent(30)) {  // a commit of an earlier assignment passes the fence
              stored_ = *straggler_;
              Untrusted();
            }
            return;
          default:
            CheckSnapshot(tracker_->Take());
        }
    }
  }

  // A new owner, or the same one again.
  void Restart() {
    const LogRange log{log_.front(), std::max(stored_.base, visible_ == 0 ? log_.front() : log_[visible_ - 1] + 1)};
    const DecodedOffsetMap decoded = DecodeOffsetMap(stored_.map, stored_.base, log);
    if (stored_.sound) {
      Require(decoded.verdict == (stored_.map.empty() ? MapVerdict::kEmpty : MapVerdict::kUsed), "own map is read");
    } else {
      Require(decoded.verdict != MapVerdict::kUsed, "other metadata is ignored");
    }
    ++(decoded.verdict == MapVerdict::kUsed ? totals_->used : totals_->ignored);
    CheckMap(decoded.map, stored_.model);
    restored_end_ = decoded.map.end;
    model_ = stored_.model.NextLife();
    tracker_.emplace(decoded.map);
    first_ = static_cast<size_t>(std::lower_bound(log_.begin(), log_.end(), stored_.base) - log_.begin());
    position_ = model_.begun = first_;
    acknowledged_ = 0;
    pending_.reset();
    held_.reset();
    host_ = random_.Below(std::size(journal_));
    if (random_.Percent(5)) std::fill(journal_[host_].begin(), journal_[host_].end(), false);  // it lost its journal
  }

  void Fetch(size_t count) {
    for (; count > 0 && position_ < visible_; --count) {
      const size_t i = position_;
      if (gone_[i]) {
        ++position_;
        continue;
      }
      const bool may_dispatch = tracker_->MayDispatch();
      if (tracker_->incomplete() == tracker_->in_flight()) {
        const bool room = tracker_->in_flight() < kMaxIncomplete;
        const bool is_near = i >= model_.begun && log_[i] - tracker_->base() < kMaxSpan;
        if (room && is_near) Require(may_dispatch, "the window is open");
        if (!room) Require(!may_dispatch, "the window is closed");
      }
      if (!may_dispatch && (obedient_ || random_.Percent(80))) return;
      if (held_ && *held_ == i && random_.Percent(20)) OvertakeHeld();
      const Admission admission = tracker_->Begin(log_[i]);
      ++totals_->begun;
      if (admission == Admission::kWindowClosed) {
        Require(!may_dispatch && model_.state[i] == Model::kUnseen && i >= model_.begun, "only new records wait");
        ++totals_->closed;
        held_ = i;
        OvertakeHeld();
        return;
      }
      if (held_ == i) held_.reset();
      Require(admission == model_.Begin(i), "admission as in the model");
      if (admission == Admission::kComplete) Require(settled_[i], "skipped only when settled");
      if (admission == Admission::kDispatch || admission == Admission::kClaimed) {
        char& unsent = journal_[host_][i];
        if (admission == Admission::kDispatch) unsent = false;
        jobs_.push_back({i, admission == Admission::kClaimed && !unsent, {}, false});
        totals_->claimed += admission == Admission::kClaimed ? 1 : 0;
        totals_->proven += unsent;
      }
      if (admission == Admission::kDispatch && !at_most_once_[i]) Send(&jobs_.back());
      Require(tracker_->in_flight() <= tracker_->incomplete() && tracker_->incomplete() <= kMaxIncomplete,
              "hard window");
      totals_->most_in_flight = std::max(totals_->most_in_flight, tracker_->in_flight());
      ++position_;
    }
  }

  // A caller that drops a refused record stops the partition, and does not lose it.
  void OvertakeHeld() {
    for (size_t after = *held_ + 1; after < visible_; ++after) {
      if (gone_[after]) continue;
      Require(tracker_->Begin(log_[after]) == Admission::kWindowClosed, "nothing overtakes a refused record");
      return;
    }
  }

  void Send(Job* job) {
    job->sent = true;
    if (sent_[job->i]++ == 0) return;
    ++totals_->again;
    Require(budget_-- > 0, "sent again <= completed after the last commit + in flight");
    Require(!at_most_once_[job->i] || !claims_hold_, "at most once");
  }

  void Unclaim(Job* job) {
    journal_[host_][job->i] = false;  // before another host may claim it
    tracker_->Unclaim(log_[job->i]);
    model_.claimed[job->i] = false;
    job->claim.reset();
  }

  // Takes a job one step on.
  void Work(size_t index, bool hurry) {
    Job& job = jobs_[index];
    if (!job.sent) {
      if (!job.claim) {
        job.claim = tracker_->Claim(log_[job.i]);
        Require(job.claim.has_value() == (model_.state[job.i] == Model::kRunning), "what is in flight can be claimed");
        if (!job.claim) {  // a job of an earlier life has completed it meanwhile
          jobs_.erase(jobs_.begin() + static_cast<ptrdiff_t>(index));
          return;
        }
        model_.claimed[job.i] = true;
      } else if (!hurry && random_.Percent(10)) {
        Unclaim(&job);
      }
      if (!job.claim || tracker_->committed_generation() < *job.claim) return;
      journal_[host_][job.i] = true;
      if (!hurry && random_.Percent(30)) return;  // it waits for its transport
      journal_[host_][job.i] = false;             // the point of no return
      Send(&job);
      if (!hurry) return;
    }
    const size_t i = job.i;
    const bool elsewhere = job.elsewhere;
    jobs_[index] = jobs_.back();
    jobs_.pop_back();
    settled_[i] = true;
    if (elsewhere) return;
    Completion expected = Completion::kCompleted;
    if (model_.state[i] == Model::kDone) expected = Completion::kRepeated;
    if (model_.state[i] == Model::kUnseen && log_[i] >= restored_end_) expected = Completion::kUnknown;
    const Completion completion = tracker_->Complete(log_[i]);
    const bool vanished = gone_[i] && model_.state[i] != Model::kRunning;  // the model does not follow these
    Require(completion == expected || vanished, "completion as in the model");
    if (completion == Completion::kCompleted) {
      model_.Complete(i);
      Require(tracker_->dirty(), "a completion is to be committed");
    }
    totals_->unknown += completion == Completion::kUnknown ? 1 : 0;
    Require(tracker_->uncommitted() == model_.completed - acknowledged_, "uncommitted as in the model");
  }

  void CheckMap(const OffsetMap& map, const Model& model) {
    Require(map.IsWellFormed(), "well formed");
    auto claim = map.incomplete.begin();
    int64_t done_before = -1;  // the highest offset with nothing but settled records up to it
    bool in_front = true;
    for (size_t i = 0; i < log_.size(); ++i) {
      while (claim != map.incomplete.end() && claim->offset < log_[i]) ++claim;
      const bool listed = claim != map.incomplete.end() && claim->offset == log_[i];
      const bool done = model.state[i] == Model::kDone;
      in_front = in_front && done;
      if (in_front) done_before = log_[i];
      if (gone_[i]) continue;
      if (done) Require(settled_[i], "a commit vouches only for settled records");
      Require(map.IsComplete(log_[i]) == done, "a commit vouches for what the model says");
      Require((listed && claim->claimed) == static_cast<bool>(model.claimed[i]), "claims as in the model");
    }
    Require(map.base > done_before, "the base is the lowest incomplete offset");
  }

  void CheckSnapshot(const Snapshot& snapshot) {
    Require(snapshot.map.size() <= kMaxMapText, "the map fits");
    totals_->longest = std::max(totals_->longest, snapshot.map.size());
    const DecodedOffsetMap decoded = DecodeOffsetMap(snapshot.map, snapshot.base, {log_.front(), log_.back() + 1});
    Require(decoded.verdict == (snapshot.map.empty() ? MapVerdict::kEmpty : MapVerdict::kUsed), "sound map");
    CheckMap(decoded.map, model_);
  }

  void Commit() {
    pending_ = Pending{tracker_->Take(), model_};
    ++totals_->commits;
    CheckSnapshot(pending_->snapshot);
  }

  void Answer(bool stored, bool known) {
    if (stored) {
      if (random_.Percent(20)) straggler_ = stored_;
      stored_ = {pending_->snapshot.base, pending_->snapshot.map, pending_->model, true};
    }
    if (stored && known) {
      tracker_->Committed(pending_->snapshot);
      acknowledged_ = pending_->model.completed;
      Require(tracker_->uncommitted() == model_.completed - acknowledged_, "uncommitted after a commit");
    }
    pending_.reset();
  }

  // The tracker goes: with its jobs (crash), or alone (revocation; what is past the point of no return goes on).
  void Die(bool crash) {
    ++totals_->deaths;
    if (!crash &&
        random_.Percent(70)) {  // an orderly revocation: what was not sent is handed back, then the last commit
      for (Job& job : jobs_) {
        if (job.sent || !job.claim || model_.state[job.i] != Model::kRunning) continue;
        Unclaim(&job);
        ++totals_->handed_back;
      }
      pending_.reset();
      Commit();
    }
    if (pending_) Answer(random_.Percent(50), random_.Percent(50));
    budget_ += tracker_->uncommitted() + tracker_->in_flight();
    if (crash) {
      jobs_.clear();
    } else {
      std::erase_if(jobs_, [this](const Job& job) { return !job.sent || random_.Percent(30); });
      for (Job& job : jobs_) job.elsewhere |= random_.Percent(50);
    }
    Restart();
  }

  // Compaction, retention of single records: one that has not been fetched is no more.
  void Vanish() {
    const size_t i = random_.Below(log_.size());
    if (i >= model_.begun && i != held_ && model_.state[i] == Model::kUnseen) gone_[i] = true;
  }

  // Somebody wrote other metadata at the same offset.
  void Tamper() {
    std::string map = stored_.map;
    switch (random_.Below(8)) {
      case 0:
        map.resize(1 + random_.Below(40));
        for (char& c : map) c = static_cast<char>(random_.Next());
        break;
      case 1:
        if (map.empty()) return;
        map[random_.Below(map.size())] ^= static_cast<char>(1 << random_.Below(8));
        break;
      case 2:
        if (map.empty()) return;
        map.resize(random_.Below(map.size()));
        break;
      case 3:
        map = "bAAQAAAAAH0";
        break;
      case 4:
        map = "M2." + map;
        break;
      case 5: {  // sound, and far beyond the log: of another one
        const int64_t end = log_.back() + 2 + static_cast<int64_t>(random_.Below(1'000'000'000));
        map = EncodeOffsetMap({stored_.base, end, {{stored_.base, random_.Percent(50)}}});
        break;
      }
      case 6:  // more than the brokers store, and more than this reads
        map = std::string(1 + random_.Below(3 * kMaxMapText), 'M');
        break;
      default:
        if (!straggler_ || !straggler_->sound || straggler_->base == stored_.base) return;
        map = straggler_->map;
    }
    stored_.map = map;
    LoseMap();
  }

  // Somebody set the group's offset back, with or without the map.
  void Rewind() {
    const int64_t base = log_[random_.Below(log_.size())];
    if (base >= stored_.base) return;
    stored_.base = base;
    if (!stored_.sound || random_.Percent(50)) stored_.map.clear();
    LoseMap();
  }

  void LoseMap() {
    stored_.sound = stored_.map.empty();
    for (size_t i = 0; i < log_.size(); ++i) {
      stored_.model.state[i] = log_[i] < stored_.base ? Model::kDone : Model::kUnseen;
      stored_.model.claimed[i] = false;
    }
    Untrusted();
    pending_.reset();
    Die(/*crash=*/true);
  }

  // What is stored is older than what was acknowledged: anything sent may be sent again, claims are lost.
  void Untrusted() {
    claims_hold_ = false;
    for (const unsigned sent : sent_) budget_ += sent > 0 ? 1 : 0;
  }

  Random random_;
  Totals* const totals_;
  size_t burst_ = 1;
  size_t claim_percent_ = 0;
  size_t weights_[4] = {};
  size_t rare_ = 0;
  bool obedient_ = false;  // asks MayDispatch() first, always

  // The world.
  std::vector<int64_t> log_;
  std::vector<char> at_most_once_, gone_, settled_;
  std::vector<unsigned> sent_;
  size_t visible_ = 0;
  Commitment stored_;
  std::optional<Commitment> straggler_;
  std::vector<Job> jobs_;
  // Of two hosts, by record: the claim is durable by this host, and what it claimed was not sent.
  std::vector<char> journal_[2];
  uint64_t budget_ = 0;      // how many records may yet be sent again
  bool claims_hold_ = true;  // no acknowledged map was lost

  // This life.
  std::optional<OffsetTracker> tracker_;
  size_t host_ = 0;
  Model model_;
  std::optional<Pending> pending_;
  size_t first_ = 0, position_ = 0;
  std::optional<size_t> held_;  // the record that met a closed window
  int64_t restored_end_ = 0;
  uint64_t acknowledged_ = 0;
};

uint64_t FromEnvironment(const char* name, uint64_t otherwise) {
  const char* value = std::getenv(name);
  return value != nullptr ? std::strtoull(value, nullptr, 10) : otherwise;
}

TEST(OffsetTrackerPropertyTest, RandomSchedules) {
  const uint64_t runs = FromEnvironment("POSTBUS_PROPERTY_RUNS", 100'000);
  const uint64_t seed = FromEnvironment("POSTBUS_PROPERTY_SEED", 1);
  Totals totals;
  for (uint64_t i = 0; i < runs; ++i) {
    try {
      Schedule(seed + i, &totals).Run();
    } catch (const std::runtime_error& broken) {
      FAIL() << "broken: " << broken.what()
             << "\nrepeat with POSTBUS_PROPERTY_RUNS=1 POSTBUS_PROPERTY_SEED=" << seed + i;
    }
  }
  std::printf(
      "%llu schedules: %llu begun, %llu sent again, %llu commits, %llu deaths, maps %llu used %llu empty or ignored, "
      "window closed %llu times, %llu claimed ones met, %llu proven unsent, %llu claims handed back, "
      "%llu unknown completions, at most %zu in flight, %zu bytes\n",
      static_cast<unsigned long long>(runs), static_cast<unsigned long long>(totals.begun),
      static_cast<unsigned long long>(totals.again), static_cast<unsigned long long>(totals.commits),
      static_cast<unsigned long long>(totals.deaths), static_cast<unsigned long long>(totals.used),
      static_cast<unsigned long long>(totals.ignored), static_cast<unsigned long long>(totals.closed),
      static_cast<unsigned long long>(totals.claimed), static_cast<unsigned long long>(totals.proven),
      static_cast<unsigned long long>(totals.handed_back), static_cast<unsigned long long>(totals.unknown),
      totals.most_in_flight, totals.longest);
  if (runs < 10'000) return;
  // The schedules reach what they are to test.
  EXPECT_EQ(totals.most_in_flight, kMaxIncomplete);
  EXPECT_GT(totals.closed, 0u);
  EXPECT_GT(totals.again, 0u);
  EXPECT_GT(totals.claimed, 0u);
  EXPECT_GT(totals.proven, 0u);
  EXPECT_GT(totals.handed_back, 0u);
  EXPECT_GT(totals.unknown, 0u);
  EXPECT_GT(totals.used, 0u);
}

}  // namespace
}  // namespace postbus::kafka
