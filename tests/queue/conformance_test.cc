// What every backend promises, proven on each: see queue_harness.h. Judged by id, never by count alone.
#include "tests/queue/conformance.h"

#include <algorithm>
#include <array>
#include <map>
#include <mutex>
#include <random>
#include <set>
#include <stdexcept>

namespace postbus {
namespace {

TEST_F(QueueConformance, APublishedEventComesOnceAndAsItWas) {
  {
    auto host = OpenHost();
    const std::string value("{\"a\":\"\0\xff\xf0 bytes\"}", 18);
    NewEvent event = EventOf("id-1", value, Priority::kHigh);
    event.traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    ASSERT_TRUE(PublishAndWait(host->queue(), event).ok());

    QueuedEvent got;
    ASSERT_TRUE(host->Next(got));
    EXPECT_EQ(got.headers.id, "id-1");
    EXPECT_EQ(got.value, value);
    EXPECT_EQ(got.priority, Priority::kHigh);
    EXPECT_EQ(got.headers.accepted_at_unix_ms, 1'700'000'000'000);
    EXPECT_EQ(got.headers.traceparent, event.traceparent);
    EXPECT_EQ(got.headers.attempt, 0);
    EXPECT_EQ(got.headers.due_unix_ms, 0);
    EXPECT_TRUE(got.headers.recipients.empty());
    EXPECT_GE(got.headers.origin.offset, 0);
    EXPECT_FALSE(got.headers.origin.topic.empty());
    ASSERT_NE(got.permit, nullptr);
    EXPECT_TRUE(got.permit->Valid(BootTimeMs()));
    host->Complete(got);
    EXPECT_TRUE(WaitUntil([&] { return host->queue().Stats().completed == 1; }));
    EXPECT_TRUE(host->queue().Health().ok()) << host->queue().Health().message();
    EXPECT_FALSE(host->Next(got, 300));
    EXPECT_TRUE(host->Stop());
  }
  auto again = OpenHost();
  ASSERT_TRUE(PublishAndWait(again->queue(), EventOf("id-2", "{}")).ok());
  EXPECT_EQ(Drain(*again, 1), std::vector<std::string>{"id-2"});
  EXPECT_TRUE(again->Stop());
}

TEST_F(QueueConformance, AfterACrashUnfinishedEventsComeAgainAndFinishedOnesDoNot) {
  RunAndKill([this](const Ledger&) {
    auto host = OpenHost();
    for (int i = 0; i < 20; ++i) {
      const std::string id = "id-" + std::to_string(i);
      if (!PublishAndWait(host->queue(), EventOf(id, ValueOf(id))).ok()) throw std::runtime_error("publish");
    }
    QueuedEvent event;
    std::vector<QueuedEvent> turns;
    for (int i = 0; i < 20; ++i) {
      if (!host->Next(event)) throw std::runtime_error("next");
      turns.push_back(event);
    }
    for (const QueuedEvent& turn : turns) {
      if (std::stoi(turn.headers.id.substr(3)) % 2 == 0) host->shard().Complete(turn.turn);
    }
    host->shard().Flush();
    if (!WaitUntil([&] {
          host->shard().Flush();
          return host->queue().Stats().completed == 10;
        })) {
      throw std::runtime_error("completed");
    }
    // `completed` counts turns that are over; Kafka's commit of that follows within its interval.
    const uint64_t commits = host->queue().Stats().commits;
    WaitUntil([&] { return host->queue().Stats().commits > commits; }, 500);
  });
  auto host = OpenHost();
  std::vector<std::string> ids = Drain(*host, 10);
  std::sort(ids.begin(), ids.end());
  std::vector<std::string> odd;
  for (int i = 1; i < 20; i += 2) odd.push_back("id-" + std::to_string(i));
  std::sort(odd.begin(), odd.end());
  EXPECT_EQ(ids, odd);
  EXPECT_TRUE(host->Stop());
}

// Accepted means kept. Four processes work on one queue in turn; three are killed at a moment of their own in the
// middle of everything. Each accepted event must be seen to its end, and each dead letter must be there.
TEST_F(QueueConformance, NothingIsLostOverCrashes) {
  constexpr int kEventsARun = 1250;
  constexpr int kRuns = 4;
  constexpr size_t kInHand = 200;
  struct Worker {
    TestHost& host;
    std::mt19937 random;
    const Ledger& ledger;
    std::map<TurnId, QueuedEvent> in_hand;

    // What becomes of a turn depends on the event alone, so that every run treats it alike.
    void End(const QueuedEvent& event) {
      const std::string& id = event.headers.id;
      const size_t kind = std::hash<std::string>()(id) % 10;
      const std::string value = ValueOf(id);
      if (event.value != value) throw std::runtime_error("value of " + id);
      if (event.headers.due_unix_ms > UnixTimeMs()) throw std::runtime_error("early: " + id);
      if (kind < 3 && event.headers.attempt < 2) {
        host.shard().Defer(event.turn, {.recipients = RecipientSet::All(1),
                                        .due_unix_ms = UnixTimeMs() + 20 + static_cast<int64_t>(random() % 300),
                                        .attempt = event.headers.attempt + 1,
                                        .outcome_class = "transient",
                                        .value = value});
        ledger("deferred " + id);
      } else if (kind == 3 || kind == 2) {
        host.shard().DeadLetter(event.turn, {.recipients = RecipientSet::All(1),
                                             .attempt = event.headers.attempt,
                                             .outcome_class = "rejected_message",
                                             .message = "no",
                                             .id = id,
                                             .value = event.value});
        ledger("dead " + id);
      } else {
        ledger("done " + id);
      }
      host.shard().Complete(event.turn);
    }
    // Takes what there is, ends turns in random order. True: did something.
    bool Step() {
      QueuedEvent event;
      bool busy = false;
      while (in_hand.size() < kInHand && host.shard().Next(event)) {
        in_hand.emplace(event.turn, event);
        busy = true;
      }
      for (size_t i = random() % 40; i > 0 && !in_hand.empty(); --i) {
        const auto turn = std::next(in_hand.begin(), static_cast<ptrdiff_t>(random() % in_hand.size()));
        End(turn->second);
        in_hand.erase(turn);
        busy = true;
      }
      host.shard().Flush();
      return busy;
    }
  };

  std::set<std::string> accepted, done, dead, deferred;
  const auto read = [&](const std::vector<std::string>& ledger) {
    for (const std::string& line : ledger) {
      const size_t space = line.find(' ');
      const std::string id = line.substr(space + 1);
      const std::string what = line.substr(0, space);
      if (what == "accepted") accepted.insert(id);
      if (what == "done") done.insert(id);
      if (what == "dead") dead.insert(id);
      if (what == "deferred") deferred.insert(id);
    }
  };
  const auto publish = [&](Queue& queue, int run, const Ledger& ledger) {
    for (int i = 0; i < kEventsARun; ++i) {
      const std::string id = "e-" + std::to_string(run) + "-" + std::to_string(i);
      const std::string value = ValueOf(id);
      const Status taken = queue.Publish(EventOf(id, value, static_cast<Priority>(i % kPriorities)),
                                         [&ledger, id](const Status& status) {
                                           if (status.ok()) ledger("accepted " + id);
                                         });
      if (!taken.ok()) throw std::runtime_error(std::string(taken.message()));
    }
  };

  for (int run = 0; run + 1 < kRuns; ++run) {
    const unsigned seed = 20251225u + static_cast<unsigned>(run);
    SCOPED_TRACE("seed " + std::to_string(seed));
    read(RunAndKill([&, this](const Ledger& ledger) {
      auto host = OpenHost();
      Worker worker{*host, std::mt19937(seed), ledger, {}};
      std::thread publisher([&] { publish(host->queue(), run, ledger); });
      int steps = 40 + static_cast<int>(worker.random() % 40);
      const int64_t deadline = BootTimeMs() + kPatienceMs;
      while (steps > 0 && BootTimeMs() < deadline) {
        if (worker.Step()) {
          --steps;
        } else {
          std::this_thread::sleep_for(std::chrono::milliseconds(1));
        }
      }
      publisher.join();  // all handed over, not all accepted
    }));
    EXPECT_GT(accepted.size(), 0u);
  }

  {
    std::mutex mutex;
    std::vector<std::string> lines;
    const Ledger ledger = [&](const std::string& line) {
      const std::lock_guard lock(mutex);
      lines.push_back(line);
    };
    auto host = OpenHost();
    publish(host->queue(), kRuns - 1, ledger);
    Worker worker{*host, std::mt19937(7), ledger, {}};
    const auto all_ended = [&] {
      {
        const std::lock_guard lock(mutex);
        read(lines);
        lines.clear();
      }
      return accepted.contains("e-3-" + std::to_string(kEventsARun - 1)) &&
             std::all_of(accepted.begin(), accepted.end(),
                         [&](const std::string& id) { return done.contains(id) || dead.contains(id); });
    };
    int64_t deadline = BootTimeMs() + kPatienceMs;
    int64_t quiet_since = 0;
    while (BootTimeMs() < deadline) {
      if (worker.Step()) {
        quiet_since = 0;
        continue;
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
      if (quiet_since == 0) quiet_since = BootTimeMs();
      if (BootTimeMs() - quiet_since > 1000 && all_ended()) break;
    }
    EXPECT_TRUE(host->Stop());
    read(lines);
  }

  std::vector<std::string> lost;
  for (const std::string& id : accepted) {
    if (!done.contains(id) && !dead.contains(id)) lost.push_back(id);
  }
  EXPECT_EQ(lost, std::vector<std::string>());
  EXPECT_GT(deferred.size(), 500u);
  std::set<std::string> stored;
  for (const StoredDeadLetter& letter : harness_->DeadLetters()) {
    stored.insert(letter.id);
    EXPECT_EQ(letter.value, ValueOf(letter.id));
  }
  for (const std::string& id : accepted) {
    EXPECT_TRUE(!dead.contains(id) || stored.contains(id)) << id;
  }
  for (const std::string& id : stored) EXPECT_TRUE(dead.contains(id)) << id;
  RecordProperty("accepted", static_cast<int>(accepted.size()));

  auto host = OpenHost();
  QueuedEvent event;
  EXPECT_FALSE(host->Next(event, 1000)) << event.headers.id << " came after its end";
  EXPECT_TRUE(host->Stop());
}

TEST_F(QueueConformance, ADeferredCopyComesWhenItIsDueAndNotBefore) {
  auto host = OpenHost();
  ASSERT_TRUE(PublishAndWait(host->queue(), EventOf("id-1", "first", Priority::kLow)).ok());
  QueuedEvent first;
  ASSERT_TRUE(host->Next(first));
  RecipientSet recipients;
  recipients.insert(1);
  recipients.insert(3);
  const int64_t due = UnixTimeMs() + 1500;
  host->shard().Defer(
      first.turn,
      {.recipients = recipients, .due_unix_ms = due, .attempt = 2, .outcome_class = "throttled", .value = "second"});
  host->Complete(first);

  QueuedEvent copy;
  ASSERT_TRUE(host->Next(copy));
  const int64_t came = UnixTimeMs();
  EXPECT_GE(came, due);
  EXPECT_LE(came, due + 1500);
  EXPECT_EQ(copy.headers.id, "id-1");
  EXPECT_EQ(copy.value, "second");
  EXPECT_EQ(copy.priority, Priority::kLow);
  EXPECT_EQ(copy.headers.attempt, 2);
  EXPECT_EQ(copy.headers.due_unix_ms, due);
  EXPECT_EQ(copy.headers.recipients, recipients);
  EXPECT_EQ(copy.headers.outcome_class, "throttled");
  EXPECT_EQ(copy.headers.accepted_at_unix_ms, first.headers.accepted_at_unix_ms);
  EXPECT_EQ(copy.headers.origin.topic, first.headers.origin.topic);
  EXPECT_EQ(copy.headers.origin.partition, first.headers.origin.partition);
  EXPECT_EQ(copy.headers.origin.offset, first.headers.origin.offset);
  host->Complete(copy);
  EXPECT_FALSE(host->Next(copy, 300));
  EXPECT_TRUE(host->Stop());
  EXPECT_EQ(host->queue().Stats().deferred, 1u);
}

// Copies in an order other than that of their due times, some due at once, some behind what was read already.
TEST_F(QueueConformance, ManyDeferredCopiesEachComeOnceInTime) {
  constexpr int kEvents = 300;
  auto host = OpenHost();
  for (int i = 0; i < kEvents; ++i) {
    const std::string id = std::to_string(i);
    ASSERT_TRUE(host->queue().Publish(EventOf("id-" + id, "{}"), [](const Status&) {}).ok());
  }
  std::mt19937 random(20251225);
  std::map<std::string, int> seen;
  int copies = 0;
  QueuedEvent event;
  while (copies < kEvents) {
    ASSERT_TRUE(host->Next(event)) << copies;
    if (event.headers.attempt == 0) {
      const int64_t due = UnixTimeMs() - 100 + static_cast<int64_t>(random() % 1000);
      host->shard().Defer(event.turn, {.recipients = RecipientSet::All(1),
                                       .due_unix_ms = due,
                                       .attempt = 1,
                                       .outcome_class = "transient",
                                       .value = std::to_string(due)});
    } else {
      const int64_t now = UnixTimeMs();
      EXPECT_GE(now, event.headers.due_unix_ms);
      EXPECT_LE(now, event.headers.due_unix_ms + 2000);
      EXPECT_EQ(event.value, std::to_string(event.headers.due_unix_ms));
      ++seen[event.headers.id];
      ++copies;
    }
    host->Complete(event);
  }
  EXPECT_FALSE(host->Next(event, 300)) << event.headers.id << " came again";
  EXPECT_EQ(seen.size(), static_cast<size_t>(kEvents));
  EXPECT_TRUE(host->Stop());
}

// A copy that is due before those under way makes a backend look behind where it was.
TEST_F(QueueConformance, CopiesUnderWayDoNotComeAgain) {
  auto host = OpenHost();
  const auto defer = [&](const QueuedEvent& event, int64_t due) {
    host->shard().Defer(event.turn, {.recipients = RecipientSet::All(1),
                                     .due_unix_ms = due,
                                     .attempt = 1,
                                     .outcome_class = "transient",
                                     .value = event.value});
    host->Complete(event);
  };
  const int64_t due = UnixTimeMs() - 1000;
  QueuedEvent event;
  std::map<std::string, QueuedEvent> under_way;
  for (const std::string id : {"id-1", "id-2", "id-3"}) {
    ASSERT_TRUE(PublishAndWait(host->queue(), EventOf(id, ValueOf(id))).ok());
    ASSERT_TRUE(host->Next(event));
    defer(event, due);
    ASSERT_TRUE(host->Next(event));
    ASSERT_EQ(event.headers.id, id);
    ASSERT_EQ(event.headers.attempt, 1);
    under_way.emplace(id, event);
  }
  ASSERT_TRUE(PublishAndWait(host->queue(), EventOf("early", "{}")).ok());
  ASSERT_TRUE(host->Next(event));
  ASSERT_EQ(event.headers.id, "early");
  defer(event, due - 1000);
  ASSERT_TRUE(host->Next(event));
  EXPECT_EQ(event.headers.id, "early");
  host->Complete(event);
  EXPECT_FALSE(host->Next(event, 300)) << event.headers.id << " came again";
  for (const auto& [id, turn] : under_way) host->Complete(turn);
  EXPECT_FALSE(host->Next(event, 300)) << event.headers.id << " came again";
  EXPECT_TRUE(host->Stop());
}

TEST_F(QueueConformance, ADeferredCopySurvivesACrashAndKeepsItsTime) {
  const std::vector<std::string> ledger = RunAndKill([this](const Ledger& write) {
    auto host = OpenHost();
    if (!PublishAndWait(host->queue(), EventOf("id-1", "first")).ok()) throw std::runtime_error("publish");
    QueuedEvent event;
    if (!host->Next(event)) throw std::runtime_error("next");
    const int64_t due = UnixTimeMs() + 4000;
    host->shard().Defer(event.turn, {.recipients = RecipientSet::All(1),
                                     .due_unix_ms = due,
                                     .attempt = 1,
                                     .outcome_class = "transient",
                                     .value = "second"});
    host->Complete(event);
    if (!WaitUntil([&] { return host->queue().Stats().deferred == 1; })) throw std::runtime_error("deferred");
    const uint64_t commits = host->queue().Stats().commits;
    WaitUntil([&] { return host->queue().Stats().commits > commits; }, 500);
    write(std::to_string(due));
  });
  ASSERT_EQ(ledger.size(), 1u);
  const int64_t due = std::stoll(ledger[0]);
  auto host = OpenHost();
  QueuedEvent copy;
  ASSERT_TRUE(host->Next(copy));
  EXPECT_GE(UnixTimeMs(), due);
  EXPECT_EQ(copy.value, "second");
  EXPECT_EQ(copy.headers.due_unix_ms, due);
  host->Complete(copy);
  EXPECT_TRUE(host->Stop());
}

TEST_F(QueueConformance, ATurnSettlesEachRecipientInItsOwnWay) {
  auto host = OpenHost();
  ASSERT_TRUE(PublishAndWait(host->queue(), EventOf("id-1", "three recipients")).ok());
  QueuedEvent event;
  ASSERT_TRUE(host->Next(event));  // 0 was sent, 1 comes again, 2 is refused
  RecipientSet again, refused;
  again.insert(1);
  refused.insert(2);
  host->shard().Defer(event.turn, {.recipients = again,
                                   .due_unix_ms = UnixTimeMs() + 200,
                                   .attempt = 1,
                                   .outcome_class = "transient",
                                   .value = "three recipients"});
  host->shard().DeadLetter(event.turn, {.recipients = refused,
                                        .attempt = 1,
                                        .outcome_class = "rejected_recipient",
                                        .message = "550 5.1.1 no such user",
                                        .id = {},
                                        .value = event.value});
  host->Complete(event);
  QueuedEvent copy;
  ASSERT_TRUE(host->Next(copy));
  EXPECT_EQ(copy.headers.recipients, again);
  host->Complete(copy);
  EXPECT_FALSE(host->Next(copy, 300));
  EXPECT_TRUE(host->Stop());
  const std::vector<StoredDeadLetter> letters = harness_->DeadLetters();
  ASSERT_EQ(letters.size(), 1u);
  EXPECT_EQ(letters[0].headers.recipients, refused);
}

TEST_F(QueueConformance, ADeadLetterHasItsReasonAndTheSameBytes) {
  std::string value = "{\"message\":{\"subject\":\"";
  for (int c = 0; c < 256; ++c) value += static_cast<char>(c);
  value += "\"}}";
  auto host = OpenHost();
  ASSERT_TRUE(PublishAndWait(host->queue(), EventOf("id-1", value, Priority::kHigh)).ok());
  QueuedEvent event;
  ASSERT_TRUE(host->Next(event));
  host->shard().DeadLetter(event.turn, {.recipients = RecipientSet::All(2),
                                        .attempt = 4,
                                        .outcome_class = "attempts_exhausted",
                                        .message = std::string(511, 'm') + "\xC3\xA4 cut",
                                        .id = {},
                                        .value = event.value});
  host->Complete(event);
  EXPECT_TRUE(host->Stop());
  EXPECT_EQ(host->queue().Stats().dead_lettered, 1u);
  const std::vector<StoredDeadLetter> letters = harness_->DeadLetters();
  ASSERT_EQ(letters.size(), 1u);
  EXPECT_EQ(letters[0].id, "id-1");
  EXPECT_EQ(letters[0].value, value);
  EXPECT_EQ(letters[0].message, std::string(511, 'm'));
  EXPECT_EQ(letters[0].headers.id, "id-1");
  EXPECT_EQ(letters[0].headers.attempt, 4);
  EXPECT_EQ(letters[0].headers.outcome_class, "attempts_exhausted");
  EXPECT_EQ(letters[0].headers.recipients, RecipientSet::All(2));
  EXPECT_EQ(letters[0].headers.accepted_at_unix_ms, 1'700'000'000'000);
  EXPECT_EQ(letters[0].headers.origin.offset, event.headers.origin.offset);
}

TEST_F(QueueConformance, StatusRecordsOfAnIdAreKeptInOrder) {
  auto host = OpenHost();
  for (const char* id : {"id-1", "id-2"}) ASSERT_TRUE(PublishAndWait(host->queue(), EventOf(id, "{}")).ok());
  QueuedEvent event;
  for (int i = 0; i < 2; ++i) {
    ASSERT_TRUE(host->Next(event));
    for (int attempt = 1; attempt <= 3; ++attempt) {
      StatusRecord record;
      record.id = event.headers.id;
      record.change = attempt < 3 ? Change::kDeferred : Change::kSent;
      record.recipients = RecipientSet::All(1);
      record.at_unix_ms = UnixTimeMs();
      record.attempt = attempt;
      record.text = "said \"" + record.id + "\"";
      host->shard().Report(event.turn, record);
    }
    host->Complete(event);
  }
  EXPECT_TRUE(host->Stop());
  std::map<std::string, std::vector<int>> attempts;
  for (const StatusRecord& record : harness_->StatusRecords()) {
    if (record.change == Change::kQueued) continue;
    attempts[record.id].push_back(record.attempt);
    EXPECT_EQ(record.text, "said \"" + record.id + "\"");
    EXPECT_EQ(record.change, record.attempt < 3 ? Change::kDeferred : Change::kSent);
  }
  const std::vector<int> in_order = {1, 2, 3};
  EXPECT_EQ(attempts["id-1"], in_order);
  EXPECT_EQ(attempts["id-2"], in_order);
}

TEST_F(QueueConformance, PrioritiesShareByWeightAndNoneStarves) {
  constexpr int kEach = 600;
  auto host = OpenHost();
  std::atomic<int> accepted{0};
  for (int i = 0; i < kEach; ++i) {
    for (const Priority priority : {Priority::kLow, Priority::kNormal, Priority::kHigh}) {
      const std::string id = std::string(PriorityName(priority)) + "-" + std::to_string(i);
      ASSERT_TRUE(
          host->queue()
              .Publish(EventOf(id, "{}", priority), [&](const Status& status) { accepted += status.ok() ? 1 : 0; })
              .ok());
    }
  }
  ASSERT_TRUE(WaitUntil([&] { return accepted == 3 * kEach; }));

  std::array<int, kPriorities> taken{};  // since all three had come
  std::array<int, kPriorities> in_all{};
  QueuedEvent event;
  for (int i = 0; i < 3 * kEach; ++i) {
    ASSERT_TRUE(host->Next(event));
    const size_t priority = static_cast<size_t>(event.priority);
    EXPECT_EQ(event.headers.id.substr(0, event.headers.id.find('-')), PriorityName(event.priority));
    const bool all_came = in_all[0] > 0 && in_all[1] > 0 && in_all[2] > 0;
    ++in_all[priority];
    if (all_came && taken[0] + taken[1] + taken[2] < 400) ++taken[priority];
    host->Complete(event);
  }
  EXPECT_NEAR(taken[0], 280, 40) << "of 400 high";
  EXPECT_NEAR(taken[1], 100, 30) << "of 400 normal";
  EXPECT_NEAR(taken[2], 20, 15) << "of 400 low";
  for (const int count : in_all) EXPECT_EQ(count, kEach);
  EXPECT_TRUE(host->Stop());
}

TEST_F(QueueConformance, AbandonedAtStopComesAgain) {
  {
    auto host = OpenHost();
    for (const char* id : {"id-1", "id-2"}) ASSERT_TRUE(PublishAndWait(host->queue(), EventOf(id, ValueOf(id))).ok());
    QueuedEvent first, second;
    ASSERT_TRUE(host->Next(first));
    ASSERT_TRUE(host->Next(second));
    host->queue().StopConsuming();
    host->shard().Abandon(first.turn);
    host->Complete(second);
    EXPECT_TRUE(host->Stop());
  }
  auto host = OpenHost();
  QueuedEvent event;
  ASSERT_TRUE(host->Next(event));
  const std::string id = event.headers.id;
  EXPECT_EQ(event.value, ValueOf(id));
  host->Complete(event);
  EXPECT_FALSE(host->Next(event, 1000));
  EXPECT_TRUE(host->Stop());
}

TEST_F(QueueConformance, StopConsumingYieldsNothingMore) {
  auto host = OpenHost();
  for (const char* id : {"id-1", "id-2"}) ASSERT_TRUE(PublishAndWait(host->queue(), EventOf(id, "{}")).ok());
  QueuedEvent event;
  ASSERT_TRUE(host->Next(event));
  host->queue().StopConsuming();
  QueuedEvent other;
  EXPECT_FALSE(host->shard().Next(other));
  host->Complete(event);
  EXPECT_TRUE(host->Stop());
}

TEST_F(QueueConformance, TwoShardsShareTheWork) {
  constexpr int kEvents = 3000;
  auto host = OpenHost(2);
  std::mutex mutex;
  std::map<std::string, int> turns;
  std::atomic<int> ended{0};
  std::vector<std::thread> threads;
  for (size_t shard = 0; shard < 2; ++shard) {
    threads.emplace_back([&, shard] {
      QueuedEvent event;
      const int64_t deadline = BootTimeMs() + kPatienceMs;
      while (ended < kEvents && BootTimeMs() < deadline) {
        if (!host->Next(event, 100, shard)) continue;
        {
          const std::lock_guard lock(mutex);
          ++turns[event.headers.id];
        }
        host->shard(shard).Complete(event.turn);
        ++ended;
      }
      host->shard(shard).Flush();
    });
  }
  for (int i = 0; i < kEvents; ++i) {
    const std::string id = "id-" + std::to_string(i);
    ASSERT_TRUE(
        host->queue().Publish(EventOf(id, "{}", static_cast<Priority>(i % kPriorities)), [](const Status&) {}).ok());
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(turns.size(), static_cast<size_t>(kEvents));
  for (const auto& [id, count] : turns) EXPECT_EQ(count, 1) << id;
  EXPECT_TRUE(host->Stop());
  EXPECT_EQ(host->queue().Stats().completed, static_cast<uint64_t>(kEvents));
}

TEST_F(QueueConformance, FourThreadsPublishAndEachIsAnsweredOnce) {
  constexpr int kThreads = 4;
  constexpr int kEach = 500;
  auto host = OpenHost();
  std::vector<std::atomic<int>> answers(kThreads * kEach);
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < kEach; ++i) {
        const int number = t * kEach + i;
        const std::string id = "id-" + std::to_string(number);
        const Status taken = host->queue().Publish(EventOf(id, ValueOf(id)), [&answers, number](const Status& status) {
          answers[static_cast<size_t>(number)] += status.ok() ? 1 : 1000;
        });
        EXPECT_TRUE(taken.ok());
      }
    });
  }
  std::set<std::string> ids;
  QueuedEvent event;
  while (ids.size() < kThreads * kEach) {
    ASSERT_TRUE(host->Next(event));
    EXPECT_EQ(event.value, ValueOf(event.headers.id));
    EXPECT_TRUE(ids.insert(event.headers.id).second) << event.headers.id;
    host->Complete(event);
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_TRUE(WaitUntil([&] { return host->queue().Stats().published == kThreads * kEach; }));
  EXPECT_TRUE(host->Stop());
  for (size_t i = 0; i < answers.size(); ++i) EXPECT_EQ(answers[i], 1) << i;
}

TEST_F(QueueConformance, AProducerReachesTheHost) {
  auto host = OpenHost();
  auto producer = Open(Role::kProducer);
  ASSERT_TRUE(PublishAndWait(*producer, EventOf("id-1", "from outside")).ok());
  QueuedEvent event;
  ASSERT_TRUE(host->Next(event));
  EXPECT_EQ(event.value, "from outside");
  host->Complete(event);
  EXPECT_TRUE(producer->Stop(BootTimeMs() + kPatienceMs));
  EXPECT_TRUE(host->Stop());
}

TEST_F(QueueConformance, ABatchIsAcceptedInOneGo) {
  auto host = OpenHost();
  std::vector<std::string> ids, values;
  for (int i = 0; i < 500; ++i) {
    ids.push_back("batch-" + std::to_string(i));
    values.push_back(ValueOf(ids.back()));
  }
  std::vector<NewEvent> events;
  for (size_t i = 0; i < ids.size(); ++i) {
    events.push_back(EventOf(ids[i], values[i], static_cast<Priority>(i % kPriorities)));
  }
  ASSERT_TRUE(PublishAndWait(host->queue(), Publication{.events = events}).ok());
  std::set<std::string> left(ids.begin(), ids.end());
  QueuedEvent event;
  while (!left.empty()) {
    ASSERT_TRUE(host->Next(event)) << left.size() << " missing, such as " << *left.begin();
    EXPECT_EQ(left.erase(event.headers.id), 1u) << event.headers.id << " came twice";
    EXPECT_EQ(event.value, ValueOf(event.headers.id));
    host->Complete(event);
  }
  EXPECT_TRUE(host->Stop());
}

TEST_F(QueueConformance, ABatchWithAnEventThatIsTooLargeIsRefusedWhole) {
  auto host = OpenHost();
  const std::string large(EventLimits().max_bytes + 1, 'x');
  const std::array<NewEvent, 2> events = {EventOf("small", "{}"), EventOf("large", large)};
  const Status refused = host->queue().Publish(Publication{.events = events}, [](const Status&) { FAIL(); });
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.kind(), ErrorKind::kInvalid);
  ASSERT_TRUE(PublishAndWait(host->queue(), EventOf("after", "{}")).ok());
  QueuedEvent event;
  ASSERT_TRUE(host->Next(event));
  EXPECT_EQ(event.headers.id, "after");
  host->Complete(event);
  EXPECT_TRUE(host->Stop());
}

TEST_F(QueueConformance, ARepeatedRequestIsAnsweredAndNotPublishedAgain) {
  auto host = OpenHost();
  const NewEvent event = EventOf("id-1", "{}");
  const Publication request = {.events = {&event, 1}, .request_id = "request-1", .digest = "one body"};
  std::atomic<int> accepted{0};
  for (int i = 0; i < 20; ++i) {  // while the first is under way, too
    ASSERT_TRUE(host->queue().Publish(request, [&](const Status& status) { accepted += status.ok(); }).ok());
  }
  ASSERT_TRUE(WaitUntil([&] { return accepted == 20; }));
  ASSERT_TRUE(PublishAndWait(host->queue(), request).ok());

  const Status other =
      PublishAndWait(host->queue(), {.events = {&event, 1}, .request_id = "request-1", .digest = "another body"});
  ASSERT_FALSE(other.ok());
  EXPECT_EQ(other.kind(), ErrorKind::kConflict);
  const NewEvent next = EventOf("id-2", "{}");
  ASSERT_TRUE(
      PublishAndWait(host->queue(), {.events = {&next, 1}, .request_id = "request-2", .digest = "one body"}).ok());
  EXPECT_EQ(host->queue().Stats().published, 2u);

  std::multiset<std::string> got;
  for (QueuedEvent queued; got.size() < 2;) {
    ASSERT_TRUE(host->Next(queued));
    got.insert(queued.headers.id);
    host->Complete(queued);
  }
  EXPECT_EQ(got, (std::multiset<std::string>{"id-1", "id-2"}));
  EXPECT_TRUE(host->Stop());
}

TEST_F(QueueConformance, TheLargestEventPassesAndALargerOneIsRefused) {
  const size_t limit = QueueConfig().max_event_bytes;
  auto host = OpenHost();
  std::string value(limit, 'x');
  for (size_t i = 0; i < value.size(); i += 4099) value[i] = static_cast<char>(i % 251);
  ASSERT_TRUE(PublishAndWait(host->queue(), EventOf("id-1", value)).ok());
  bool called = false;
  const Status refused = host->queue().Publish(EventOf("id-2", value + "x"), [&](const Status&) { called = true; });
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.kind(), ErrorKind::kInvalid);

  QueuedEvent event;
  ASSERT_TRUE(host->Next(event));
  EXPECT_EQ(event.headers.id, "id-1");
  EXPECT_TRUE(event.value == value);
  host->shard().Defer(event.turn, {.recipients = RecipientSet::All(50),
                                   .due_unix_ms = UnixTimeMs() + 50,
                                   .attempt = 1,
                                   .outcome_class = "transient",
                                   .value = event.value});
  host->Complete(event);
  ASSERT_TRUE(host->Next(event));
  EXPECT_TRUE(event.value == value);
  host->shard().DeadLetter(event.turn, {.recipients = RecipientSet::All(50),
                                        .attempt = 1,
                                        .outcome_class = "rejected_message",
                                        .message = "552 5.3.4 too large",
                                        .id = {},
                                        .value = event.value});
  host->Complete(event);
  EXPECT_TRUE(host->Stop());
  EXPECT_FALSE(called);
  const std::vector<StoredDeadLetter> letters = harness_->DeadLetters();
  ASSERT_EQ(letters.size(), 1u);
  EXPECT_TRUE(letters[0].value == value);
}

TEST_F(QueueConformance, StopMakesAllDurableThatEnded) {
  constexpr int kEvents = 500;
  {
    auto host = OpenHost();
    std::atomic<int> accepted{0};
    for (int i = 0; i < kEvents; ++i) {
      const std::string id = "id-" + std::to_string(i);
      ASSERT_TRUE(
          host->queue().Publish(EventOf(id, "{}"), [&](const Status& status) { accepted += status.ok(); }).ok());
    }
    QueuedEvent event;
    for (int i = 0; i < kEvents / 2; ++i) {
      ASSERT_TRUE(host->Next(event));
      host->shard().Complete(event.turn);
    }
    EXPECT_TRUE(host->Stop());  // without a Flush
    EXPECT_EQ(accepted, kEvents);
    EXPECT_EQ(host->queue().Stats().completed, static_cast<uint64_t>(kEvents / 2));
  }
  auto host = OpenHost();
  const std::vector<std::string> rest = Drain(*host, kEvents / 2);
  EXPECT_EQ(std::set<std::string>(rest.begin(), rest.end()).size(), static_cast<size_t>(kEvents / 2));
  EXPECT_EQ(rest.size(), static_cast<size_t>(kEvents / 2));
  EXPECT_TRUE(host->Stop());
}

// What the host does with an event that was cancelled.
void EndCancelled(TestHost& host, const QueuedEvent& event) {
  StatusRecord record;
  record.id = event.headers.id;
  record.change = Change::kCancelled;
  record.recipients = event.headers.recipients;
  record.at_unix_ms = UnixTimeMs();
  host.shard().Report(event.turn, record);
  host.Complete(event);
}

int CountOf(Change change, std::string_view id, const std::vector<StatusRecord>& records) {
  return static_cast<int>(std::count_if(records.begin(), records.end(), [&](const StatusRecord& record) {
    return record.id == id && record.change == change;
  }));
}

TEST_F(QueueConformance, ACancellationReachesTheHostFromAnotherProcessesQueue) {
  auto host = OpenHost();
  auto producer = Open(Role::kProducer);
  for (const char* id : {"id-1", "id-2"}) ASSERT_TRUE(PublishAndWait(*producer, EventOf(id, "{}")).ok());
  QueuedEvent first;
  ASSERT_TRUE(host->Next(first));
  EXPECT_EQ(host->queue().cancellations().added(), 0u);
  for (int i = 0; i < 2; ++i) {  // again: the same
    const Status cancelled = CancelAndWait(*producer, first.headers.id);
    EXPECT_TRUE(cancelled.ok()) << cancelled.message();
  }
  ASSERT_TRUE(WaitUntil([&] { return host->queue().cancellations().Contains(first.headers.id); }));
  QueuedEvent second;
  ASSERT_TRUE(host->Next(second));
  EXPECT_FALSE(host->queue().cancellations().Contains(second.headers.id));
  EndCancelled(*host, first);
  host->Complete(second);
  EXPECT_TRUE(producer->Stop(BootTimeMs() + kPatienceMs));
  EXPECT_TRUE(host->Stop());
  EXPECT_EQ(CountOf(Change::kCancelled, first.headers.id, harness_->StatusRecords()), 1);
}

// The host that was killed has never seen it; the next one knows it before it begins any turn.
TEST_F(QueueConformance, ACancellationSurvivesACrashAndIsKnownBeforeTheFirstTurn) {
  RunAndKill([this](const Ledger&) {
    auto host = OpenHost();
    for (const char* id : {"id-1", "id-2"}) {
      if (!PublishAndWait(host->queue(), EventOf(id, ValueOf(id))).ok()) throw std::runtime_error("publish");
    }
    for (int i = 0; i < 2; ++i) {
      QueuedEvent event;
      if (!host->Next(event)) throw std::runtime_error("next");
      host->shard().Defer(event.turn, {.recipients = RecipientSet::All(1),
                                       .due_unix_ms = UnixTimeMs() + 3000,
                                       .attempt = 1,
                                       .outcome_class = "transient",
                                       .value = event.value});
      host->Complete(event);
    }
    if (!WaitUntil([&] { return host->queue().Stats().deferred == 2; })) throw std::runtime_error("deferred");
    const uint64_t commits = host->queue().Stats().commits;
    WaitUntil([&] { return host->queue().Stats().commits > commits; }, 500);
    if (!host->Stop()) throw std::runtime_error("stop");
    if (!CancelAndWait(*Open(Role::kProducer), "id-1").ok()) throw std::runtime_error("cancel");
  });
  auto host = OpenHost();
  ASSERT_TRUE(PublishAndWait(host->queue(), EventOf("id-3", "{}")).ok());
  std::multiset<std::string> sent;
  QueuedEvent event;
  while (sent.size() < 2 ? host->Next(event) : host->Next(event, 1000)) {
    EXPECT_TRUE(host->queue().cancellations().Contains("id-1")) << "a turn began before";
    if (host->queue().cancellations().Contains(event.headers.id)) {
      EndCancelled(*host, event);
    } else {
      sent.insert(event.headers.id);
      host->Complete(event);
    }
  }
  EXPECT_EQ(sent, (std::multiset<std::string>{"id-2", "id-3"}));
  EXPECT_TRUE(host->Stop());
  const std::vector<StatusRecord> records = harness_->StatusRecords();
  EXPECT_EQ(CountOf(Change::kCancelled, "id-1", records), 1) << "whoever ended it";
  EXPECT_EQ(CountOf(Change::kCancelled, "id-2", records), 0);
}

// What a host has in its hands ends by its turn alone: it may have been sent.
TEST_F(QueueConformance, WhatIsUnderWayWhenItIsCancelledIsLeftToItsTurn) {
  auto host = OpenHost();
  for (const char* id : {"id-1", "id-2"}) ASSERT_TRUE(PublishAndWait(host->queue(), EventOf(id, ValueOf(id))).ok());
  std::vector<QueuedEvent> copies;
  for (int i = 0; i < 4; ++i) {
    QueuedEvent event;
    ASSERT_TRUE(host->Next(event));
    if (event.headers.attempt == 1) {
      copies.push_back(event);
      continue;
    }
    host->shard().Defer(event.turn, {.recipients = RecipientSet::All(1),
                                     .due_unix_ms = UnixTimeMs() - 1,
                                     .attempt = 1,
                                     .outcome_class = "transient",
                                     .value = event.value});
    host->Complete(event);
  }
  for (const QueuedEvent& copy : copies) ASSERT_TRUE(CancelAndWait(host->queue(), copy.headers.id).ok());
  ASSERT_TRUE(WaitUntil([&] { return host->queue().cancellations().size() == 2; }));
  StatusRecord sent;
  sent.id = copies[0].headers.id;
  sent.change = Change::kSent;
  sent.recipients = RecipientSet::All(1);
  sent.at_unix_ms = UnixTimeMs();
  host->shard().Report(copies[0].turn, sent);
  host->Complete(copies[0]);
  EndCancelled(*host, copies[1]);
  QueuedEvent event;
  EXPECT_FALSE(host->Next(event, 300)) << event.headers.id << " came again";
  EXPECT_TRUE(host->Stop());
  const std::vector<StatusRecord> records = harness_->StatusRecords();
  EXPECT_EQ(CountOf(Change::kSent, copies[0].headers.id, records), 1);
  EXPECT_EQ(CountOf(Change::kCancelled, copies[0].headers.id, records), 0);
  EXPECT_EQ(CountOf(Change::kCancelled, copies[1].headers.id, records), 1);
}

TEST_F(QueueConformance, AReplayedDeadLetterOfACancelledMailIsStillCancelled) {
  {
    auto host = OpenHost();
    ASSERT_TRUE(PublishAndWait(host->queue(), EventOf("id-1", ValueOf("id-1"))).ok());
    QueuedEvent event;
    ASSERT_TRUE(host->Next(event));
    ASSERT_TRUE(CancelAndWait(host->queue(), "id-1").ok());
    host->shard().DeadLetter(event.turn, {.recipients = RecipientSet::All(1),
                                          .attempt = 1,
                                          .outcome_class = "rejected_message",
                                          .message = "it had passed its point of no return",
                                          .id = {},
                                          .value = event.value});
    host->Complete(event);
    EXPECT_TRUE(host->Stop());
  }
  auto letters = harness_->OpenDeadLetters();
  ASSERT_TRUE(letters.ok()) << letters.status().message();
  ASSERT_TRUE((*letters)->ForEach([&](const DeadLetter& letter) { return (*letters)->Replay(letter); }).ok());
  auto host = OpenHost();
  QueuedEvent event;
  ASSERT_TRUE(host->Next(event));
  EXPECT_EQ(event.headers.replay, 1);
  EXPECT_TRUE(host->queue().cancellations().Contains(event.headers.id));
  host->Complete(event);
  EXPECT_TRUE(host->Stop());
}

TEST_F(QueueConformance, ACancellationAfterStopIsRefused) {
  auto queue = Open(Role::kProducer);
  EXPECT_TRUE(queue->Stop(BootTimeMs() + kPatienceMs));
  bool called = false;
  EXPECT_FALSE(queue->Cancel("id-1", [&](const Status&) { called = true; }).ok());
  EXPECT_FALSE(called);
}

TEST_F(QueueConformance, APublishAfterStopIsRefused) {
  auto queue = Open(Role::kProducer);
  EXPECT_TRUE(queue->Stop(BootTimeMs() + kPatienceMs));
  bool called = false;
  const Status refused = queue->Publish(EventOf("id-1", "{}"), [&](const Status&) { called = true; });
  EXPECT_FALSE(refused.ok());
  EXPECT_FALSE(called);
}

}  // namespace
}  // namespace postbus
