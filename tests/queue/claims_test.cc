// At most once: a claim that is durable outlives process and journal, one that was taken back is gone, and nothing is
// sent twice whatever the moment of a kill.
#include <algorithm>
#include <map>
#include <mutex>
#include <random>
#include <set>

#include "tests/queue/conformance.h"

namespace postbus {
namespace {

class QueueClaims : public QueueConformance {
 protected:
  void SetUp() override {
    QueueConformance::SetUp();
    if (harness_ != nullptr) harness_->at_most_once = true;
  }

  static void Publish(TestHost& host, const std::vector<std::string>& ids) {
    for (const std::string& id : ids) {
      if (!PublishAndWait(host.queue(), EventOf(id, ValueOf(id))).ok()) throw std::runtime_error("publish");
    }
  }
  static QueuedEvent Take(TestHost& host) {
    QueuedEvent event;
    if (!host.Next(event)) throw std::runtime_error("no event");
    return event;
  }
  // Claims all of them and waits until each was named, once.
  static void ClaimAll(TestHost& host, const std::vector<QueuedEvent>& events) {
    std::set<TurnId> missing;
    for (const QueuedEvent& event : events) {
      host.shard().Claim(event.turn);
      missing.insert(event.turn);
    }
    const bool all_claimed = WaitUntil([&] {
      host.shard().Flush();
      std::vector<TurnId> claimed;
      host.shard().TakeClaimed(claimed);
      for (const TurnId turn : claimed) {
        if (missing.erase(turn) == 0) throw std::runtime_error("a claim was named twice, or of no turn");
      }
      return missing.empty();
    });
    if (!all_claimed) throw std::runtime_error("a claim never became durable");
  }
  static void Claim(TestHost& host, const QueuedEvent& event) { ClaimAll(host, {event}); }

  // What `count` events that come now have of an earlier turn, by id; they are completed.
  std::map<std::string, PastTurn> Past(size_t count) {
    std::map<std::string, PastTurn> past;
    auto host = OpenHost();
    while (past.size() < count) {
      const QueuedEvent event = Take(*host);
      past[event.headers.id] = event.past;
      host->Complete(event);
    }
    QueuedEvent event;
    EXPECT_FALSE(host->Next(event, 500)) << event.headers.id;
    EXPECT_TRUE(host->Stop());
    return past;
  }
};

constexpr RecipientSet kFirst{1};

TEST_F(QueueClaims, AClaimOutlivesProcessAndJournal) {
  RunAndKill([this](const Ledger&) {
    auto host = OpenHost();
    Publish(*host, {"claimed", "not"});
    for (int i = 0; i < 2; ++i) {
      const QueuedEvent event = Take(*host);
      EXPECT_FALSE(event.past.claimed);
      if (event.headers.id == "claimed") Claim(*host, event);
    }
  });
  harness_->DeleteJournals();
  auto past = Past(2);
  EXPECT_TRUE(past["claimed"].claimed);
  EXPECT_FALSE(past["not"].claimed);
}

TEST_F(QueueClaims, AnotherDeathLaterItIsStillClaimed) {
  RunAndKill([this](const Ledger&) {
    auto host = OpenHost();
    Publish(*host, {"claimed"});
    Claim(*host, Take(*host));
  });
  harness_->DeleteJournals();
  RunAndKill([this](const Ledger&) {
    auto host = OpenHost();
    QueuedEvent event = Take(*host);
    if (!event.past.claimed) throw std::runtime_error("the claim is lost");
    host->shard().Unclaim(event.turn);  // it is another's
    Publish(*host, {"other"});
    Claim(*host, Take(*host));  // what was to be written is written
  });
  auto past = Past(2);
  EXPECT_TRUE(past["claimed"].claimed) << "the journal of whoever only saw the claim proves nothing";
  EXPECT_FALSE(past["other"].claimed) << "its own journal proves that it was not sent";
}

TEST_F(QueueClaims, TheJournalOfWhoeverClaimedItProvesThatItWasNotSent) {
  RunAndKill([this](const Ledger&) {
    auto host = OpenHost();
    Publish(*host, {"begun", "passed", "refused", "accepted"});
    std::vector<QueuedEvent> events;
    for (int i = 0; i < 4; ++i) events.push_back(Take(*host));
    ClaimAll(*host, events);
    for (const QueuedEvent& event : events) {
      std::vector<TurnId> none;
      if (event.headers.id == "begun") continue;
      event.marks.Passed(kFirst);
      if (event.headers.id == "refused") event.marks.Answered(kFirst, {}, {});
      if (event.headers.id == "accepted") event.marks.Answered(kFirst, kFirst, {});
    }
  });
  RunAndKill([this](const Ledger&) {
    auto host = OpenHost();
    for (int i = 0; i < 4; ++i) {
      const QueuedEvent event = Take(*host);
      if (event.past.claimed) throw std::runtime_error("ours: " + event.headers.id);
      if (event.headers.id == "begun") Claim(*host, event);  // granted, though no commit has anything new to say
    }
  });
  auto past = Past(4);
  for (const auto& [id, each] : past) EXPECT_FALSE(each.claimed) << id;
  EXPECT_EQ(past["passed"].in_doubt, kFirst);
  EXPECT_TRUE(past["begun"].in_doubt.empty() && past["refused"].in_doubt.empty());
  EXPECT_EQ(past["accepted"].accepted, kFirst);
}

TEST_F(QueueClaims, WhatIsAbandonedAtAStopIsNotClaimed) {
  {
    auto host = OpenHost();
    Publish(*host, {"durable", "asked"});
    const QueuedEvent durable = Take(*host);
    const QueuedEvent asked = Take(*host);
    Claim(*host, durable);
    host->shard().Claim(asked.turn);
    host->queue().StopConsuming();
    host->shard().Abandon(durable.turn);
    host->shard().Abandon(asked.turn);
    EXPECT_TRUE(host->Stop());
  }
  harness_->DeleteJournals();
  for (const auto& [id, each] : Past(2)) EXPECT_FALSE(each.claimed) << id;
}

TEST_F(QueueClaims, AClaimThatWasTakenBackIsGoneAndMayBeMadeAgain) {
  RunAndKill([this](const Ledger&) {
    auto host = OpenHost();
    Publish(*host, {"back", "again", "last"});
    std::map<std::string, QueuedEvent> events;
    for (int i = 0; i < 3; ++i) {
      const QueuedEvent event = Take(*host);
      events[event.headers.id] = event;
    }
    ClaimAll(*host, {events["back"], events["again"]});
    host->shard().Unclaim(events["back"].turn);
    // Taken back and asked for at once: named once, and only when it is durable.
    host->shard().Unclaim(events["again"].turn);
    ClaimAll(*host, {events["again"]});
    ClaimAll(*host, {events["last"]});
    std::vector<TurnId> more;
    host->shard().TakeClaimed(more);
    if (!more.empty()) throw std::runtime_error("named again");
  });
  harness_->DeleteJournals();
  auto past = Past(3);
  EXPECT_FALSE(past["back"].claimed);
  EXPECT_TRUE(past["again"].claimed);
  EXPECT_TRUE(past["last"].claimed);
}

TEST_F(QueueClaims, ManyClaimsShareACommit) {
  constexpr size_t kEvents = 400;
  auto host = OpenHost();
  std::vector<std::string> ids;
  for (size_t i = 0; i < kEvents; ++i) ids.push_back("id-" + std::to_string(i));
  std::vector<std::string> values(kEvents, "{}");
  std::vector<NewEvent> events;
  for (size_t i = 0; i < kEvents; ++i) events.push_back(EventOf(ids[i], values[i]));
  ASSERT_TRUE(PublishAndWait(host->queue(), Publication{.events = events}).ok());
  std::vector<QueuedEvent> turns;
  while (turns.size() < kEvents) turns.push_back(Take(*host));
  const uint64_t before = host->queue().Stats().commits;
  ClaimAll(*host, turns);
  EXPECT_LT(host->queue().Stats().commits - before, 100u) << "for " << kEvents << " claims";
  for (const QueuedEvent& turn : turns) host->shard().Complete(turn.turn);
  EXPECT_TRUE(host->Stop());
}

TEST_F(QueueClaims, WhatIsPutOffComesOnceThoughNobodyClaimedIt) {
  auto host = OpenHost();
  Publish(*host, {"later"});
  QueuedEvent event = Take(*host);
  host->shard().Defer(event.turn, {.recipients = RecipientSet::All(1),
                                   .due_unix_ms = UnixTimeMs() + 200,
                                   .attempt = 1,
                                   .outcome_class = "scheduled",
                                   .value = event.value});
  host->Complete(event);
  const QueuedEvent copy = Take(*host);
  EXPECT_EQ(copy.headers.attempt, 1);
  EXPECT_FALSE(copy.past.claimed);
  host->Complete(copy);
  EXPECT_FALSE(host->Next(event, 500));
  EXPECT_TRUE(host->Stop());
}

// Six processes work on one queue in turn; five are killed at a moment of their own, and before some of the next ones
// the journals are lost. No event is sent twice, and each is sent, or somebody was told that it may have been.
TEST_F(QueueClaims, NothingIsSentTwiceOverCrashes) {
  constexpr int kEventsARun = 400;
  constexpr int kRuns = 6;
  constexpr size_t kInHand = 150;
  struct Worker {
    TestHost& host;
    std::mt19937 random;
    const Ledger& ledger;
    std::map<TurnId, QueuedEvent> in_hand;
    std::vector<TurnId> may_go;

    void Begin(const QueuedEvent& event) {
      const std::string& id = event.headers.id;
      if (event.past.claimed || !event.past.in_doubt.empty()) {
        ledger("doubt " + id);
        return host.shard().Complete(event.turn);
      }
      if (!event.past.accepted.empty()) return host.shard().Complete(event.turn);
      in_hand.emplace(event.turn, event);
      host.shard().Claim(event.turn);
    }
    void Go(TurnId turn) {
      const QueuedEvent event = in_hand.at(turn);
      const std::string& id = event.headers.id;
      const size_t what = random() % 10;
      if (what == 0) {  // its transport is down: some other time
        host.shard().Unclaim(turn);
        return host.shard().Claim(turn);
      }
      event.marks.Handed();
      event.marks.Passed(kFirst);
      if (what == 1 && event.headers.attempt < 3) {
        event.marks.Answered(kFirst, {}, {});
        host.shard().Defer(turn, {.recipients = RecipientSet::All(1),
                                  .due_unix_ms = UnixTimeMs() + static_cast<int64_t>(random() % 200),
                                  .attempt = event.headers.attempt + 1,
                                  .outcome_class = "transient",
                                  .value = event.value});
      } else {
        ledger("sent " + id);
        event.marks.Answered(kFirst, kFirst, {});
      }
      host.shard().Complete(turn);
      in_hand.erase(turn);
    }
    bool Step() {
      QueuedEvent event;
      bool busy = false;
      for (int i = 0; i < 30 && in_hand.size() < kInHand && host.shard().Next(event); ++i) {
        Begin(event);
        busy = true;
      }
      host.shard().TakeClaimed(may_go);
      for (size_t i = random() % 40; i > 0 && !may_go.empty(); --i) {
        std::swap(may_go[random() % may_go.size()], may_go.back());
        const TurnId turn = may_go.back();
        may_go.pop_back();
        Go(turn);
        busy = true;
      }
      host.shard().Flush();
      return busy;
    }
  };

  std::set<std::string> accepted;
  std::map<std::string, int> sent, doubted;
  const auto read = [&](const std::vector<std::string>& ledger) {
    for (const std::string& line : ledger) {
      const std::string id = line.substr(line.find(' ') + 1);
      if (line.starts_with("accepted ")) accepted.insert(id);
      if (line.starts_with("sent ")) ++sent[id];
      if (line.starts_with("doubt ")) ++doubted[id];
    }
  };
  const auto publish = [&](Queue& queue, int run, const Ledger& ledger) {
    for (int i = 0; i < kEventsARun; ++i) {
      const std::string id = "e-" + std::to_string(run) + "-" + std::to_string(i);
      const Status taken = queue.Publish(EventOf(id, ValueOf(id)), [&ledger, id](const Status& status) {
        if (status.ok()) ledger("accepted " + id);
      });
      if (!taken.ok()) throw std::runtime_error(std::string(taken.message()));
    }
  };
  for (int run = 0; run + 1 < kRuns; ++run) {
    const unsigned seed = 20261128u + static_cast<unsigned>(run);
    SCOPED_TRACE("seed " + std::to_string(seed));
    read(RunAndKill([&, this](const Ledger& ledger) {
      auto host = OpenHost();
      Worker worker{*host, std::mt19937(seed), ledger, {}, {}};
      publish(host->queue(), run, ledger);
      int steps = 20 + static_cast<int>(worker.random() % 20);
      const int64_t deadline = BootTimeMs() + kPatienceMs;
      while (steps > 0 && BootTimeMs() < deadline) {
        if (worker.Step()) {
          --steps;
        } else {
          std::this_thread::sleep_for(std::chrono::milliseconds(1));
        }
      }
    }));
    if (run % 2 == 1) harness_->DeleteJournals();
  }
  std::mutex mutex;
  std::vector<std::string> lines;
  const Ledger ledger = [&](const std::string& line) {
    const std::lock_guard lock(mutex);
    lines.push_back(line);
  };
  auto host = OpenHost();
  publish(host->queue(), kRuns - 1, ledger);
  Worker worker{*host, std::mt19937(7), ledger, {}, {}};
  const auto missing = [&] {
    {
      const std::lock_guard lock(mutex);
      read(lines);
      lines.clear();
    }
    std::vector<std::string> ids;
    for (const std::string& id : accepted) {
      if (!sent.contains(id) && !doubted.contains(id)) ids.push_back(id);
    }
    return ids;
  };
  const int64_t deadline = BootTimeMs() + kPatienceMs;
  int64_t quiet_since = BootTimeMs();
  while (BootTimeMs() < deadline) {
    if (worker.Step()) {
      quiet_since = BootTimeMs();
      continue;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    const QueueStats stats = host->queue().Stats();
    if (BootTimeMs() - quiet_since > 1500 && stats.waiting == 0 && stats.delayed == 0) break;
  }
  EXPECT_TRUE(host->Stop());
  // What was claimed while it waited for its time was told to no host.
  for (const StoredDeadLetter& letter : harness_->DeadLetters()) {
    EXPECT_EQ(letter.headers.outcome_class, "in_doubt");
    ++doubted[letter.id];
  }
  EXPECT_EQ(missing(), std::vector<std::string>());
  EXPECT_GT(accepted.size(), static_cast<size_t>(kEventsARun * (kRuns - 1)));
  EXPECT_GT(sent.size(), accepted.size() / 2);
  for (const auto& [id, count] : sent) EXPECT_EQ(count, 1) << id << " was sent twice";
  std::printf("%zu accepted, %zu sent, %zu in doubt\n", accepted.size(), sent.size(), doubted.size());
}

}  // namespace
}  // namespace postbus
