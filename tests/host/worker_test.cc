// The pipeline (worker.cc, shard.cc) on a queue in memory and plugins that do what their recipients say.
#include "host/worker.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <random>
#include <thread>

#include "event/email_event.h"
#include "host/plugin_set.h"
#include "host/recipient_hash.h"
#include "tests/host/fake_queue.h"

namespace postbus {
namespace {

std::string Event(std::string_view to, std::string_view id = "", std::string_view more = "") {
  std::string json = R"({"type":"t","message":{"from":"noreply@usualstore.com","to":)";
  json += to;
  if (!id.empty()) json += ",\"id\":\"" + std::string(id) + "\"";
  json += R"(,"template":"hello","data":{"a":1},"retry_count":0,"status":"pending")";
  json += more;
  return json + "}}";
}

class WorkerTest : public testing::Test {
 protected:
  WorkerTest() {
    fault_file_ = testing::TempDir() + "fault." + std::to_string(getpid());
    record_file_ = testing::TempDir() + "record." + std::to_string(getpid());
    const auto option = [](std::string name, std::string text) {
      ConfiguredOption configured;
      configured.name = std::move(name);
      configured.text = std::move(text);
      return configured;
    };
    config_.renderer.plugin = POSTBUS_BUILD_DIR "/tests/plugins/echo_renderer.so";
    TransportConfig& transport = config_.transports.emplace_back();
    transport.name = "primary";
    transport.plugin = POSTBUS_BUILD_DIR "/tests/plugins/scripted_transport.so";
    transport.options = {option("fault_file", fault_file_), option("record_file", record_file_), option("room", "20")};
    config_.routes.emplace_back().use = {"primary"};
    config_.retry.backoff_ms = {30'000};
    config_.log.level = "error";
  }
  ~WorkerTest() override {
    std::filesystem::remove(fault_file_);
    std::filesystem::remove(record_file_);
  }

  // What the transport was given, a line a mail.
  std::string Recorded() {
    std::ifstream file(record_file_);
    return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  }

  // A second transport, of which fault-while-file says nothing; the route's failover.
  void AddBackup() {
    TransportConfig& backup = config_.transports.emplace_back(config_.transports.front());
    backup.name = "backup";
    backup.options.front().text = fault_file_ + ".backup";
    config_.routes.front().use = {"primary", "backup"};
  }

  void Start() {
    log_ = std::make_unique<Log>(config_.log);
    auto renderer = LoadRenderer(config_, log_->Named("renderer"));
    ASSERT_TRUE(renderer.ok()) << renderer.status().message();
    auto worker = Worker::Start(config_, std::move(*renderer), queue_, metrics_, *log_, &pauses_);
    ASSERT_TRUE(worker.ok()) << worker.status().message();
    worker_ = std::move(*worker);
  }

  void Reload() {
    const Status status = worker_->Reload(config_, worker_->generation().renderer);
    ASSERT_TRUE(status.ok()) << status.message();
  }

  bool AwaitThat(const std::function<bool()>& condition) {
    const int64_t until = BootTimeMs() + 30'000;
    while (!condition() && BootTimeMs() < until) std::this_thread::sleep_for(std::chrono::milliseconds(2));
    return condition();
  }
  bool TendUntilDone() {
    return AwaitThat([this] { return !worker_->Tend(); });
  }
  bool AwaitOutstanding(const Transport& transport) {
    return AwaitThat([&] { return transport.outstanding() > 0; });
  }

  Config config_;
  FakeQueue queue_;
  Pauses pauses_;
  Metrics metrics_;
  std::unique_ptr<Log> log_;
  std::unique_ptr<Worker> worker_;
  std::string fault_file_;
  std::string record_file_;
};

TEST_F(WorkerTest, AnAcceptedMailCompletesItsTurnAndIsReportedSent) {
  Start();
  const auto turn = queue_.Await(queue_.Add(Event("\"accepted@x.org\"", "id-1")));
  EXPECT_EQ(turn.completed, 1);
  EXPECT_TRUE(turn.deferred.empty());
  EXPECT_TRUE(turn.dead_letters.empty());
  ASSERT_EQ(turn.reports.size(), 1u);
  EXPECT_EQ(turn.reports[0].change, Change::kSent);
  EXPECT_EQ(turn.reports[0].id, "id-1");
  EXPECT_EQ(turn.reports[0].attempt, 1);
  EXPECT_EQ(turn.reports[0].transport, "primary");
  EXPECT_EQ(turn.reports[0].code, 250);
  EXPECT_EQ(turn.reports[0].text, "said <address>");
  EXPECT_EQ(turn.reports[0].recipients, RecipientSet::All(1));
}

TEST_F(WorkerTest, ATransientOneIsDeferredWithAPatchedCopy) {
  Start();
  const int64_t before = UnixTimeMs();
  EventHeaders headers;
  headers.id = "id-2";
  headers.attempt = 1;
  const auto turn = queue_.Await(queue_.Add(Event("\"transient@x.org\"", "id-2"), headers));
  EXPECT_EQ(turn.completed, 1);
  ASSERT_EQ(turn.deferred.size(), 1u);
  EXPECT_EQ(turn.deferred[0].attempt, 2);
  EXPECT_EQ(turn.deferred[0].outcome_class, "transient");
  EXPECT_GE(turn.deferred[0].due_unix_ms, before + 30'000);
  EXPECT_LT(turn.deferred[0].due_unix_ms, UnixTimeMs() + 33'001) << "a jitter of a tenth at the most";
  std::string expected = Event("\"transient@x.org\"", "id-2");
  expected.replace(expected.find("\"retry_count\":0"), 15, "\"retry_count\":2");
  EXPECT_EQ(turn.deferred[0].value, expected);
  ASSERT_EQ(turn.reports.size(), 1u);
  EXPECT_EQ(turn.reports[0].change, Change::kDeferred);
  EXPECT_EQ(turn.reports[0].attempt, 2);
}

TEST_F(WorkerTest, EachRecipientGoesItsOwnWay) {
  Start();
  const auto turn = queue_.Await(queue_.Add(
      Event(R"(["accepted@x.org","transient@x.org","rejected@x.org","accepted+2@x.org","in_doubt@x.org"])", "id-3")));
  EXPECT_EQ(turn.completed, 1);
  ASSERT_EQ(turn.deferred.size(), 2u);
  EXPECT_EQ(turn.deferred[0].recipients, RecipientSet{0b00010});
  EXPECT_EQ(turn.deferred[1].recipients, RecipientSet{0b10000});
  EXPECT_EQ(turn.deferred[1].outcome_class, "in_doubt");
  ASSERT_EQ(turn.dead_letters.size(), 1u);
  EXPECT_EQ(turn.dead_letters[0].recipients, RecipientSet{0b00100});
  EXPECT_EQ(turn.dead_letters[0].outcome_class, "rejected_recipient");
  EXPECT_EQ(turn.dead_letters[0].id, "id-3");
  EXPECT_EQ(turn.dead_letters[0].value, turn.value) << "a dead letter has the record's bytes";
  RecipientSet sent;
  for (const StatusRecord& report : turn.reports) {
    if (report.change == Change::kSent) sent.bits |= report.recipients.bits;
    std::vector<uint64_t> hashes;
    RecipientHasher hasher(RecipientKey(config_.queue));
    constexpr std::array kWho = {"accepted@x.org", "transient@x.org", "rejected@x.org", "accepted+2@x.org",
                                 "in_doubt@x.org"};
    for (size_t i = 0; i < kWho.size(); ++i) {
      if (report.recipients.contains(i)) hashes.push_back(hasher.Hash(kWho[i]));
    }
    EXPECT_EQ(report.recipient_hashes, hashes);
  }
  EXPECT_EQ(sent, RecipientSet{0b01001});
}

TEST_F(WorkerTest, AProviderFaultGoesToTheNextOfTheRouteAndComesBackAfterAProbe) {
  AddBackup();
  std::ofstream(fault_file_) << "x";
  Start();
  const auto sent_by = [&](const std::string& recipient) {
    const auto turn = queue_.Await(queue_.Add(Event("\"" + recipient + "@x.org\"")));
    EXPECT_EQ(turn.completed, 1);
    EXPECT_TRUE(turn.deferred.empty() && turn.dead_letters.empty());
    return turn.reports.empty() ? ""
                                : turn.reports.back().transport + " " + std::to_string(turn.reports.back().attempt);
  };
  // Another recipient each: the scripted transport would take no notice of a mail's second visit.
  for (int i = 0; i < 5; ++i) EXPECT_EQ(sent_by("fault-while-file+" + std::to_string(i)), "backup 1");
  EXPECT_NE(metrics_.Serialize().find("postbus_transport_breaker_open{transport=\"primary\"} 1"), std::string::npos);
  EXPECT_NE(metrics_.Serialize().find("postbus_email_failovers_total{transport=\"primary\"} 5"), std::string::npos);
  std::filesystem::remove(fault_file_);
  int i = 0;
  while (sent_by("fault-while-file+again" + std::to_string(i)) == "backup 1") ASSERT_LT(++i, 100'000);
  EXPECT_EQ(sent_by("accepted"), "primary 1");
  EXPECT_NE(metrics_.Serialize().find("postbus_transport_breaker_open{transport=\"primary\"} 0"), std::string::npos);
}

TEST_F(WorkerTest, WhatIsSaidOfOneMailNeverFailsOver) {
  AddBackup();
  Start();
  for (const std::string word : {"rejected", "transient", "in_doubt", "accepted"}) {
    const auto turn = queue_.Await(queue_.Add(Event("\"" + word + "@x.org\"")));
    ASSERT_EQ(turn.reports.size(), 1u) << word;
    EXPECT_EQ(turn.reports[0].transport, "primary") << word;
  }
  EXPECT_NE(metrics_.Serialize().find("postbus_email_failovers_total{transport=\"primary\"} 0"), std::string::npos);
}

TEST_F(WorkerTest, OnlyTheRecipientsThatAreStillDueFailOver) {
  AddBackup();
  std::ofstream(fault_file_) << "x";
  Start();
  // The first recipient's outcome tells of the provider.
  const auto turn = queue_.Await(queue_.Add(Event(R"(["fault-while-file@x.org","accepted@x.org","rejected@x.org"])")));
  EXPECT_EQ(turn.completed, 1);
  std::map<std::string, uint64_t> sent;
  for (const StatusRecord& report : turn.reports) {
    if (report.change == Change::kSent) sent[std::string(report.transport)] |= report.recipients.bits;
  }
  EXPECT_EQ(sent, (std::map<std::string, uint64_t>{{"primary", 0b010}, {"backup", 0b001}}));
  EXPECT_EQ(turn.dead_letters.size(), 1u);
}

TEST_F(WorkerTest, OnlyRecipientsStillDueAreSubmitted) {
  Start();
  EventHeaders headers;
  headers.recipients = RecipientSet{0b10};
  const auto turn = queue_.Await(queue_.Add(Event(R"(["rejected@x.org","accepted@x.org"])"), headers));
  EXPECT_EQ(turn.completed, 1);
  EXPECT_TRUE(turn.dead_letters.empty());
  ASSERT_EQ(turn.reports.size(), 1u);
  EXPECT_EQ(turn.reports[0].recipients, RecipientSet{0b10});
}

TEST_F(WorkerTest, WhatWasTakenBackOrFailedForAllIsTriedAgainInTheSameTurnWithoutCost) {
  Start();
  for (const std::string word : {"not-sent-once", "fault-once"}) {
    const auto turn = queue_.Await(queue_.Add(Event("\"" + word + "@x.org\"")));
    EXPECT_EQ(turn.completed, 1) << word;
    EXPECT_TRUE(turn.deferred.empty()) << word;
    ASSERT_EQ(turn.reports.size(), 1u) << word;
    EXPECT_EQ(turn.reports[0].change, Change::kSent) << word;
    EXPECT_EQ(turn.reports[0].attempt, 1) << word;
  }
}

// Limits. That something takes a while proves it on a busy machine, too; that it is soon over would not.

TEST_F(WorkerTest, ATransportGetsNoMoreMailsThanItsRate) {
  config_.transports.front().rate_limit = {.per_second = 50, .burst = 1, .per_domain = {}};
  Start();
  const int64_t before = BootTimeMs();
  std::vector<TurnId> turns;
  for (int i = 0; i < 26; ++i) turns.push_back(queue_.Add(Event("\"accepted+" + std::to_string(i) + "@x.org\"")));
  for (const TurnId turn : turns) EXPECT_EQ(queue_.Await(turn).completed, 1);
  EXPECT_GE(BootTimeMs() - before, 499);
}

TEST_F(WorkerTest, AHighMailOvertakesWhatWaitsForALimitedTransport) {
  config_.transports.front().rate_limit = {.per_second = 2, .burst = 1, .per_domain = {}};
  Start();
  const std::string low = R"(,"priority":"low")";
  for (int i = 0; i < 600; ++i) {
    queue_.Add(Event("\"accepted+" + std::to_string(i) + "@x.org\"", "", low), {}, Priority::kLow);
  }
  queue_.Await(1);
  const TurnId high = queue_.Add(Event("\"accepted@x.org\"", "", R"(,"priority":"high")"), {}, Priority::kHigh);
  EXPECT_EQ(queue_.Await(high).completed, 1);
  const auto turns = queue_.turns();
  EXPECT_FALSE(turns.at(600).over()) << "the low ones need 5 minutes";
  EXPECT_TRUE(turns.at(600).deferred.empty()) << "what one transport alone cannot take stays in the queue";
}

// A producer that does not know of the topics writes all into the normal one.
TEST_F(WorkerTest, AHighMailAmongNormalEventsOvertakesInTheWindow) {
  config_.transports.front().rate_limit = {.per_second = 2, .burst = 1, .per_domain = {}};
  Start();
  for (int i = 0; i < 200; ++i) queue_.Add(Event("\"accepted+" + std::to_string(i) + "@x.org\""));
  const TurnId high = queue_.Add(Event("\"accepted@x.org\"", "", R"(,"priority":"high")"));
  EXPECT_EQ(queue_.Await(high).completed, 1);
  EXPECT_FALSE(queue_.turns().at(200).over());
}

TEST_F(WorkerTest, ALowMailAmongNormalEventsIsForwardedOnceAndSentThere) {
  queue_.TakeForwarded();
  Start();
  const std::string low = R"(,"priority":"low")";
  const auto first = queue_.Await(queue_.Add(Event("\"accepted@x.org\"", "id-1", low)));
  EXPECT_EQ(first.forwarded, 1);
  EXPECT_EQ(first.completed, 0);
  EXPECT_TRUE(first.reports.empty());
  const auto second = queue_.Await(2);
  EXPECT_EQ(second.value, first.value);
  EXPECT_EQ(second.completed, 1);
  EXPECT_EQ(second.forwarded, 0);
  ASSERT_EQ(second.reports.size(), 1u);
  EXPECT_EQ(second.reports[0].change, Change::kSent);
  EXPECT_EQ(queue_.Await(queue_.Add(Event("\"accepted@x.org\""))).forwarded, 0);
  EXPECT_EQ(queue_.Await(queue_.Add(Event("\"accepted@x.org\"", "", R"(,"priority":"high")"))).forwarded, 0);
  EXPECT_NE(metrics_.Serialize().find("postbus_emails_forwarded_total 1\n"), std::string::npos);
}

// What it becomes is settled where it is found.
TEST_F(WorkerTest, ALowMailThatIsNotToBeSentNowIsNotForwarded) {
  queue_.TakeForwarded();
  config_.recipients.allow = {"*@x.org"};
  Start();
  const std::string low = R"(,"priority":"low")";
  const auto later = queue_.Await(queue_.Add(
      Event("\"accepted@x.org\"", "", low + R"(,"scheduled_at":")" + FormatRfc3339(UnixTimeMs() + 60'000) + "\"")));
  EXPECT_EQ(later.deferred.size(), 1u);
  const auto never = queue_.Await(queue_.Add(
      Event("\"accepted@x.org\"", "", low + R"(,"expires_at":")" + FormatRfc3339(UnixTimeMs() - 60'000) + "\"")));
  EXPECT_EQ(never.reports.at(0).change, Change::kExpired);
  for (const auto& [turn, what] : queue_.turns()) EXPECT_EQ(what.forwarded, 0) << turn;
}

// A part of it was accepted before a kill -9: the rest goes from here, as those are not to hear of it again.
TEST_F(WorkerTest, ALowMailThatSomeHaveGotIsNotForwarded) {
  queue_.TakeForwarded();
  Start();
  PastTurn past;
  past.accepted.insert(0);
  const auto turn = queue_.Await(queue_.Add(Event(R"(["rejected@x.org","accepted@x.org"])", "", R"(,"priority":"low")"),
                                            {}, Priority::kNormal, past));
  EXPECT_EQ(turn.forwarded, 0);
  EXPECT_EQ(turn.completed, 1);
  ASSERT_EQ(turn.reports.size(), 2u);
  EXPECT_TRUE(turn.dead_letters.empty());
}

TEST_F(WorkerTest, PartOfTheWindowIsKeptForHighMails) {
  config_.host.max_in_flight = 32;
  Start();
  for (int i = 0; i < 100; ++i) queue_.Add(Event("\"hold+" + std::to_string(i) + "@x.org\""));
  ASSERT_TRUE(queue_.AwaitThat([](FakeQueue& queue) { return queue.taken() == 30; }));
  const TurnId high = queue_.Add(Event("\"hold@x.org\"", "", R"(,"priority":"high")"), {}, Priority::kHigh);
  EXPECT_TRUE(queue_.AwaitThat([](FakeQueue& queue) { return queue.taken() == 31; }));
  EXPECT_FALSE(queue_.turns().at(high).over());
}

TEST_F(WorkerTest, ADomainThatIsLimitedDoesNotStopOthers) {
  config_.transports.front().rate_limit.per_domain = {{"gmail.com", 0.05, 1}};
  Start();
  EXPECT_EQ(queue_.Await(queue_.Add(Event("\"accepted@gmail.com\""))).completed, 1);
  const TurnId waits = queue_.Add(Event(R"(["accepted@x.org","accepted@Gmail.com"])"));
  EXPECT_EQ(queue_.Await(queue_.Add(Event("\"accepted@x.org\""))).completed, 1);
  EXPECT_FALSE(queue_.turns().at(waits).over()) << "it has 20 seconds to wait";
  EXPECT_TRUE(worker_->Drain(BootTimeMs() + 10'000));
  EXPECT_EQ(queue_.turns().at(waits).abandoned, 1);
}

TEST_F(WorkerTest, AMailWhoseSlotIsFarComesAgainThenAndSpendsNoAttempt) {
  config_.transports.front().rate_limit.per_domain = {{"*", 0.01, 1}};
  Start();
  EXPECT_EQ(queue_.Await(queue_.Add(Event("\"accepted@x.org\""))).completed, 1);
  for (int i = 1; i <= 2; ++i) {
    const int64_t before = UnixTimeMs();
    const auto turn = queue_.Await(queue_.Add(Event("\"accepted+" + std::to_string(i) + "@x.org\"")));
    EXPECT_EQ(turn.completed, 1);
    ASSERT_EQ(turn.deferred.size(), 1u);
    EXPECT_EQ(turn.deferred[0].outcome_class, "no_slot");
    EXPECT_EQ(turn.deferred[0].attempt, 0);
    EXPECT_GT(turn.deferred[0].due_unix_ms, before + i * 100'000 - 60'000);
    EXPECT_LE(turn.deferred[0].due_unix_ms, UnixTimeMs() + i * 100'000 + 1'000);
    ASSERT_EQ(turn.reports.size(), 1u);
    EXPECT_EQ(turn.reports[0].change, Change::kDeferred);
    EXPECT_EQ(turn.reports[0].transport, "primary");
  }
}

TEST_F(WorkerTest, AThrottlingPeerIsGivenFewerMails) {
  Start();
  queue_.Add(Event("\"throttled@x.org\""));
  EXPECT_TRUE(queue_.AwaitThat([&](FakeQueue&) {
    return metrics_.Serialize().find("postbus_transport_rate_limit{transport=\"primary\"} 0\n") == std::string::npos;
  }));
}

TEST_F(WorkerTest, ATransportThatDoesNotWorkOffItsMailsDoesNotStopTheOthers) {
  AddBackup();
  config_.host.max_in_flight = 64;
  config_.routes.insert(config_.routes.begin(), RouteConfig{});
  config_.routes.front().use = {"primary"};
  config_.routes.front().match.recipient_domains = {"stuck.org"};
  config_.routes.back().use = {"backup"};
  config_.transports.front().options.back().text = "1000";
  Start();
  std::vector<TurnId> stuck;
  for (int i = 0; i < 200; ++i) stuck.push_back(queue_.Add(Event("\"hold+" + std::to_string(i) + "@stuck.org\"")));
  EXPECT_EQ(queue_.Await(queue_.Add(Event("\"accepted@x.org\""))).completed, 1);
  const auto turns = queue_.turns();
  size_t here = 0;
  for (const TurnId id : stuck) {
    const auto& turn = turns.at(id);
    here += turn.over() ? 0 : 1;
    if (!turn.over()) continue;
    ASSERT_EQ(turn.deferred.size(), 1u);
    EXPECT_EQ(turn.deferred[0].attempt, 0);
    EXPECT_EQ(turn.deferred[0].outcome_class, "no_slot");
  }
  EXPECT_EQ(here, 48u) << "three quarters of the window";
}

// Pauses.

TEST_F(WorkerTest, APausedTransportIsPassedOverAndWhereThereIsNoOtherMailsWait) {
  AddBackup();
  Start();
  ASSERT_TRUE(pauses_.Set("primary", Pauses::kNoEnd).ok());
  EXPECT_EQ(queue_.Await(queue_.Add(Event("\"accepted@x.org\""))).reports.at(0).transport, "backup");
  EXPECT_TRUE(queue_.AwaitThat([&](FakeQueue&) {
    return metrics_.Serialize().find("postbus_transport_paused{transport=\"primary\"} 1") != std::string::npos;
  }));
  ASSERT_TRUE(pauses_.Set("backup", UnixTimeMs() + 600'000).ok());
  std::vector<TurnId> waiting;
  for (int i = 0; i < 50; ++i) waiting.push_back(queue_.Add(Event("\"accepted+" + std::to_string(i) + "@x.org\"")));
  ASSERT_TRUE(queue_.AwaitThat([](FakeQueue& queue) { return queue.taken() == 51; }));
  for (const TurnId id : waiting) EXPECT_FALSE(queue_.turns().at(id).over());
  ASSERT_TRUE(pauses_.Set("primary", 0).ok());
  for (const TurnId id : waiting) {
    const auto turn = queue_.Await(id);
    ASSERT_EQ(turn.reports.size(), 1u);
    EXPECT_EQ(turn.reports[0].transport, "primary");
    EXPECT_EQ(turn.reports[0].attempt, 1);
  }
}

TEST_F(WorkerTest, APauseEndsByItself) {
  ASSERT_TRUE(pauses_.Of("primary").until_unix_ms() == 0);
  ASSERT_TRUE(pauses_.Set("primary", UnixTimeMs() + 300).ok());
  const int64_t before = BootTimeMs();
  Start();
  EXPECT_EQ(queue_.Await(queue_.Add(Event("\"accepted@x.org\""))).completed, 1);
  EXPECT_GE(BootTimeMs() - before, 200);
}

// The watchdog. Each of these is over after three seconds; it is found out long before.

TEST_F(WorkerTest, NamesARendererThatDoesNotComeBack) {
  config_.host.watchdog.silent_ms = 200;
  Start();
  std::string event = Event("\"accepted@x.org\"");
  event.replace(event.find("\"hello\""), 7, "\"slow\"");
  const TurnId turn = queue_.Add(event);
  EXPECT_TRUE(queue_.AwaitThat([&](FakeQueue&) { return !worker_->Health().ok(); }));
  EXPECT_EQ(worker_->Health().message(), "does not go on: renderer");
  EXPECT_NE(metrics_.Serialize().find("postbus_stuck{what=\"renderer\"} 1"), std::string::npos);
  EXPECT_EQ(queue_.Await(turn).completed, 1);
  EXPECT_TRUE(queue_.AwaitThat([&](FakeQueue&) { return worker_->Health().ok(); }));
  EXPECT_NE(metrics_.Serialize().find("postbus_stuck{what=\"renderer\"} 0"), std::string::npos);
}

TEST_F(WorkerTest, AShardIsNotSilentBeforeItsThreadWasStarted) {
  config_.host.watchdog.silent_ms = 2'000;
  queue_.start_takes_ms = 2'500;  // Kafka makes topics, and joins a group
  Start();
  EXPECT_EQ(queue_.Await(queue_.Add(Event("\"accepted@x.org\""))).completed, 1);
  EXPECT_EQ(metrics_.Serialize().find("postbus_stuck{"), std::string::npos);
}

TEST_F(WorkerTest, NamesATransportWhoseSubmitDoesNotComeBack) {
  config_.host.watchdog.silent_ms = 200;
  Start();
  const TurnId turn = queue_.Add(Event("\"slow-submit@x.org\""));
  EXPECT_TRUE(queue_.AwaitThat([&](FakeQueue&) { return !worker_->Health().ok(); }));
  EXPECT_EQ(worker_->Health().message(), "does not go on: transport primary");
  EXPECT_EQ(queue_.Await(turn).completed, 1);
}

TEST_F(WorkerTest, NamesATransportThatOwesAnAnswerAndPassesItOver) {
  AddBackup();
  config_.host.watchdog.owes_answer_ms = 100;
  config_.host.watchdog.silent_ms = 30'000;  // only this is looked at here
  config_.transports.front().options.back().text = "1000";
  Start();
  const TurnId held = queue_.Add(Event("\"hold@x.org\""));
  int i = 0;
  while (queue_.Await(queue_.Add(Event("\"accepted+" + std::to_string(++i) + "@x.org\""))).reports.at(0).transport !=
         "backup") {
    ASSERT_LT(i, 100'000);
  }
  EXPECT_TRUE(queue_.AwaitThat([&](FakeQueue&) { return !worker_->Health().ok(); }));
  EXPECT_EQ(worker_->Health().message(), "does not go on: transport primary");
  EXPECT_FALSE(queue_.turns().at(held).over()) << "it may yet be sent, so nobody else has it";
}

TEST_F(WorkerTest, AnOutageKeepsTheQueueAndTriesWithOneMail) {
  config_.host.max_in_flight = 1000;
  std::ofstream(fault_file_) << "x";
  Start();
  std::vector<TurnId> turns;
  for (int i = 0; i < 50; ++i)
    turns.push_back(queue_.Add(Event("\"fault-while-file+" + std::to_string(i) + "@x.org\"")));
  ASSERT_TRUE(queue_.AwaitThat([](FakeQueue& queue) { return queue.taken() == 50; }));
  // The first burst and a probe a second; not one hammering.
  const auto faults = [&] {
    const std::string text = metrics_.Serialize();
    const std::string name =
        R"(postbus_emails_outcome_total{outcome="provider_fault",priority="normal",transport="primary"} )";
    return std::stod(text.substr(text.find(name) + name.size()));
  };
  ASSERT_TRUE(queue_.AwaitThat([&](FakeQueue&) { return faults() >= 1; }));
  EXPECT_LE(faults(), 41) << "what the transport had room for, once more before the first came back, and one probe";
  std::filesystem::remove(fault_file_);
  for (const TurnId id : turns) {
    const auto turn = queue_.Await(id);
    EXPECT_EQ(turn.completed, 1);
    EXPECT_TRUE(turn.deferred.empty());
    EXPECT_TRUE(turn.dead_letters.empty());
  }
}

TEST_F(WorkerTest, EventsAtFaultAreDeadLetteredWithAReasonAndNoAddress) {
  Start();
  struct Case {
    std::string value;
    std::string reason;
    std::string message;  // part of it
  };
  EventHeaders beyond;
  beyond.recipients = RecipientSet{0b100};
  const Case cases[] = {
      {"not json", "invalid_event", ""},
      {"", "invalid_event", ""},
      {R"({"type":"t","message":{"from":"a@b.org","to":"no-at-sign","template":"hello"}})", "invalid_event", "/to"},
      {R"({"type":"t","message":{"to":"a@b.org","template":"hello"}})", "invalid_event", "/from"},
      {R"({"type":"t","message":{"from":"a@b.org","to":"a@b.org","template":"none"}})", "render_error", "no template"},
      {R"({"type":"t","message":{"from":"a@b.org","to":"a@b.org","template":"silent"}})", "invalid_event", "/subject"},
      {R"({"type":"t","message":{"from":"a@b.org","to":"a@b.org","template":"torn"}})", "render_error", ""},
  };
  for (const Case& c : cases) {
    const TurnId id = queue_.Add(c.value);
    const auto turn = queue_.Await(id);
    EXPECT_EQ(turn.completed, 1) << c.value;
    ASSERT_EQ(turn.dead_letters.size(), 1u) << c.value;
    EXPECT_EQ(turn.dead_letters[0].outcome_class, c.reason) << c.value;
    EXPECT_NE(turn.dead_letters[0].message.find(c.message), std::string::npos) << turn.dead_letters[0].message;
    EXPECT_EQ(turn.dead_letters[0].message.find("@"), std::string::npos) << turn.dead_letters[0].message;
    EXPECT_EQ(turn.dead_letters[0].value, c.value);
    EXPECT_EQ(turn.dead_letters[0].id, "fake.0." + std::to_string(id));
    ASSERT_EQ(turn.reports.size(), 1u);
    EXPECT_EQ(turn.reports[0].change, Change::kDeadLettered);
  }
  const auto turn = queue_.Await(queue_.Add(Event("\"accepted@x.org\""), beyond));
  ASSERT_EQ(turn.dead_letters.size(), 1u);
  EXPECT_EQ(turn.dead_letters[0].outcome_class, "invalid_event");
  EXPECT_EQ(queue_.Await(queue_.Add(Event("\"accepted@x.org\""))).reports.at(0).change, Change::kSent) << "it lives";
}

constexpr std::string_view kEverything =
    R"({"message":{"from":"N <noreply@x.org>","to":["Ann <accepted@x.org>","accepted+2@x.org"],)"
    R"("cc":"accepted+3@x.org","bcc":["accepted+4@y.org"],"reply_to":"R <r@x.org>","subject":"S",)"
    R"("html":"<p>Hello <a href='https:\/\/x.org/'>you</a></p>","headers":{"X-A":"b"},"tags":["t"],)"
    R"("metadata":{"k":"v"},"attachments":[{"filename":"a.pdf","content":"Pz8\/"},)"
    R"({"filename":"l.png","content":"QUJD","content_id":"logo"}]}})";

TEST_F(WorkerTest, AMailWithoutATemplateHasAllItsPartsAndATextMadeOfItsHtml) {
  Start();
  const auto turn = queue_.Await(queue_.Add(std::string(kEverything)));
  EXPECT_EQ(turn.completed, 1);
  ASSERT_EQ(turn.reports.size(), 1u);
  EXPECT_EQ(turn.reports[0].change, Change::kSent);
  EXPECT_EQ(turn.reports[0].recipients, RecipientSet::All(4));
  EXPECT_EQ(
      Recorded(),
      "rcpt accepted@x.org accepted+2@x.org accepted+3@x.org accepted+4@y.org|to Ann<accepted@x.org> <accepted+2@x.org>"
      "|cc <accepted+3@x.org>|bcc <accepted+4@y.org>|reply_to R<r@x.org>|headers X-A=b Auto-Submitted=auto-generated"
      "|metadata k=v|tags t|file a.pdf application/pdf  Pz8/|file l.png image/png logo QUJD"
      "|S|Hello you (https://x.org/)\n|<p>Hello <a href='https://x.org/'>you</a></p>|flags 0\n");
}

TEST_F(WorkerTest, PartsNameOnlyTheRecipientsOfTheAttempt) {
  Start();
  EventHeaders headers;
  headers.recipients = RecipientSet{0b1010};
  const auto turn = queue_.Await(queue_.Add(std::string(kEverything), headers));
  EXPECT_EQ(turn.completed, 1);
  EXPECT_TRUE(
      Recorded().starts_with("rcpt accepted+2@x.org accepted+4@y.org|to <accepted+2@x.org>|cc|bcc <accepted+4@y.org>|"))
      << Recorded();
}

TEST_F(WorkerTest, AProvidersKeyIsOneForAllAttemptsToTheSameRecipientsAfterTheSameReplay) {
  Start();
  const auto key = [&](uint64_t recipients, int replay, int attempt) {
    std::filesystem::remove(record_file_);
    EventHeaders headers;
    headers.recipients = RecipientSet{recipients};
    headers.replay = replay;
    headers.attempt = attempt;
    EXPECT_EQ(queue_.Await(queue_.Add(Event(R"(["accepted@x.org","accepted+2@x.org"])", "id-1"), headers)).completed,
              1);
    const std::string recorded = Recorded();
    const size_t at = recorded.find("|key ");
    return at == recorded.npos ? "the id" : recorded.substr(at + 5, recorded.find('|', at + 1) - at - 5);
  };
  EXPECT_EQ(key(0, 0, 0), "the id");
  EXPECT_EQ(key(0, 0, 1), "the id");
  EXPECT_EQ(key(0b11, 0, 2), "the id");
  EXPECT_EQ(key(0b10, 0, 0), "id-1/0/2");
  EXPECT_EQ(key(0b10, 0, 3), "id-1/0/2");
  EXPECT_EQ(key(0b01, 0, 1), "id-1/0/1");
  EXPECT_EQ(key(0b11, 1, 0), "id-1/1/3");
  EXPECT_EQ(key(0b11, 1, 2), "id-1/1/3");
  EXPECT_EQ(key(0b11, 2, 0), "id-1/2/3");
}

TEST_F(WorkerTest, SaysWhatAMailNeedsOfAServer) {
  Start();
  for (const std::string_view where : {"to", "cc", "bcc", "reply_to"}) {
    std::filesystem::remove(record_file_);
    std::string event = R"({"message":{"from":"a@x.org","subject":"ü","text":"ü","to":"accepted@x.org",")";
    event += where == "to" ? R"(x":1,"cc)" : where;
    event += R"(":"accepted+ü@x.org"}})";
    EXPECT_EQ(queue_.Await(queue_.Add(event)).reports.at(0).change, Change::kSent);
    // Nobody sees bcc in the mail itself.
    EXPECT_TRUE(Recorded().ends_with(where == "bcc" ? "|flags 2\n" : "|flags 3\n")) << where << Recorded();
  }
}

TEST_F(WorkerTest, WritesDomainsInAsciiWhereTheLocalPartIs) {
  Start();
  const auto mail = [&](const std::string& to) {
    std::filesystem::remove(record_file_);
    const std::string event = R"({"message":{"from":"a@ü.org","subject":"s","text":"t","to":")" + to + R"("}})";
    EXPECT_EQ(queue_.Await(queue_.Add(event)).reports.at(0).change, Change::kSent);
    return Recorded();
  };
  std::string recorded = mail("Ü <accepted@bücher.org>");
  EXPECT_TRUE(recorded.starts_with("rcpt accepted@xn--bcher-kva.org|to Ü<accepted@xn--bcher-kva.org>|")) << recorded;
  EXPECT_TRUE(recorded.ends_with("|flags 0\n")) << "any server takes it: " << recorded;
  recorded = mail("accepted+ü@bücher.org");
  EXPECT_TRUE(recorded.starts_with("rcpt accepted+ü@bücher.org|to <accepted+ü@bücher.org>|")) << recorded;
  EXPECT_TRUE(recorded.ends_with("|flags 3\n")) << recorded;
}

TEST_F(WorkerTest, RedirectToGetsEveryMailAndNobodyElse) {
  config_.recipients.redirect_to = "QA <accepted@stäging.org>";
  Start();
  const auto turn = queue_.Await(queue_.Add(std::string(kEverything)));
  EXPECT_EQ(turn.completed, 1);
  ASSERT_EQ(turn.reports.size(), 1u);
  EXPECT_EQ(turn.reports[0].recipients, RecipientSet::All(4)) << "the event's recipients are settled by it";
  EXPECT_TRUE(Recorded().starts_with(
      "rcpt accepted@xn--stging-cua.org|to QA<accepted@xn--stging-cua.org>|cc|bcc|reply_to R<r@x.org>|headers X-A=b "
      "X-Postbus-Original-To=accepted@x.org, accepted+2@x.org, accepted+3@x.org Auto-Submitted"))
      << Recorded();
}

TEST_F(WorkerTest, ARedirectedMailThatIsRejectedIsDeadLetteredForAll) {
  config_.recipients.redirect_to = "rejected@staging.org";
  Start();
  const auto turn = queue_.Await(queue_.Add(Event(R"(["accepted@x.org","accepted+2@x.org"])")));
  EXPECT_EQ(turn.completed, 1);
  ASSERT_EQ(turn.dead_letters.size(), 1u);
  EXPECT_EQ(turn.dead_letters[0].recipients, RecipientSet::All(2));
}

TEST_F(WorkerTest, RecipientsThatAreNotAllowedAreDeadLetteredTheOthersGo) {
  config_.recipients.allow = {"*@X.org", "boss@z.org"};
  Start();
  const auto turn = queue_.Await(queue_.Add(std::string(kEverything)));
  EXPECT_EQ(turn.completed, 1);
  ASSERT_EQ(turn.dead_letters.size(), 1u);
  EXPECT_EQ(turn.dead_letters[0].recipients, RecipientSet{0b1000});
  EXPECT_EQ(turn.dead_letters[0].outcome_class, "recipient_not_allowed");
  EXPECT_NE(turn.dead_letters[0].message.find("recipients.allow"), std::string::npos);
  ASSERT_EQ(turn.reports.size(), 2u);
  EXPECT_EQ(turn.reports[0].change, Change::kDeadLettered);
  EXPECT_EQ(turn.reports[1].change, Change::kSent);
  EXPECT_EQ(turn.reports[1].recipients, RecipientSet{0b0111});
  EXPECT_EQ(Recorded().find("y.org"), std::string::npos);

  std::filesystem::remove(record_file_);
  const auto none = queue_.Await(queue_.Add(Event(R"(["a@y.org","b@y.org"])")));
  EXPECT_EQ(none.completed, 1);
  ASSERT_EQ(none.dead_letters.size(), 1u);
  EXPECT_EQ(none.dead_letters[0].recipients, RecipientSet::All(2));
  EXPECT_EQ(Recorded(), "");
}

TEST_F(WorkerTest, NothingIsSentWithoutAPermit) {
  queue_.permit().Revoke();
  Start();
  const TurnId id = queue_.Add(Event("\"accepted@x.org\""));
  const auto not_sent = [&] {
    return metrics_.Serialize().find(R"(outcome="not_sent",priority="normal",transport="primary"} 0)") ==
           std::string::npos;
  };
  ASSERT_TRUE(queue_.AwaitThat([&](FakeQueue&) { return not_sent(); }));
  EXPECT_FALSE(queue_.turns()[id].over());
  queue_.permit().Extend(INT64_MAX);
  EXPECT_EQ(queue_.Await(id).completed, 1);
}

// ,"scheduled_at":"…" or the like, so long from now.
std::string At(std::string_view field, int64_t ms_from_now) {
  return ",\"" + std::string(field) + "\":\"" + FormatRfc3339(UnixTimeMs() + ms_from_now) + "\"";
}

TEST_F(WorkerTest, AScheduledEventComesBackAtItsTimeAndHasCostNothing) {
  Start();
  EventHeaders headers;
  headers.recipients = RecipientSet{0b10};
  const int64_t before = UnixTimeMs();
  const std::string value = Event(R"(["a@x.org","accepted@x.org"])", "id-1", At("scheduled_at", 3'600'000));
  const auto turn = queue_.Await(queue_.Add(value, headers));
  EXPECT_EQ(turn.completed, 1);
  ASSERT_EQ(turn.deferred.size(), 1u);
  EXPECT_GE(turn.deferred[0].due_unix_ms, before + 3'600'000);
  EXPECT_LE(turn.deferred[0].due_unix_ms, UnixTimeMs() + 3'600'000);
  EXPECT_EQ(turn.deferred[0].attempt, 0);
  EXPECT_EQ(turn.deferred[0].outcome_class, "scheduled");
  EXPECT_EQ(turn.deferred[0].recipients, RecipientSet{0b10});
  EXPECT_EQ(turn.deferred[0].value, value);
  ASSERT_EQ(turn.reports.size(), 1u);
  EXPECT_EQ(turn.reports[0].change, Change::kScheduled);
  EXPECT_EQ(turn.reports[0].due_unix_ms, turn.deferred[0].due_unix_ms);
  EXPECT_EQ(Recorded(), "") << "nothing was handed to a transport";

  // The queue has judged the time it waited for. This host's clock may be behind.
  headers.due_unix_ms = turn.deferred[0].due_unix_ms;
  const auto back = queue_.Await(queue_.Add(value, headers));
  ASSERT_EQ(back.reports.size(), 1u);
  EXPECT_EQ(back.reports[0].change, Change::kSent);
  EXPECT_EQ(back.reports[0].attempt, 1);
}

TEST_F(WorkerTest, ATimeInThePastMeansNow) {
  Start();
  const auto turn = queue_.Await(queue_.Add(Event("\"accepted@x.org\"", "id-1", At("scheduled_at", -1))));
  ASSERT_EQ(turn.reports.size(), 1u);
  EXPECT_EQ(turn.reports[0].change, Change::kSent);
}

TEST_F(WorkerTest, WhatIsScheduledTooFarAheadIsInvalid) {
  Start();
  const auto turn = queue_.Await(queue_.Add(Event("\"a@x.org\"", "", R"(,"scheduled_at":"9999-01-01T00:00:00Z")")));
  ASSERT_EQ(turn.dead_letters.size(), 1u);
  EXPECT_EQ(turn.dead_letters[0].outcome_class, "invalid_event");
  EXPECT_NE(turn.dead_letters[0].message.find("/scheduled_at"), std::string::npos) << turn.dead_letters[0].message;
}

TEST_F(WorkerTest, TheAgeOfAScheduledEventBeginsAtItsTime) {
  config_.retry.max_age_ms = 60'000;
  Start();
  EventHeaders headers;
  headers.accepted_at_unix_ms = UnixTimeMs() - 3'600'000;
  const auto young = queue_.Await(queue_.Add(Event("\"transient@x.org\"", "", At("scheduled_at", -1'000)), headers));
  EXPECT_EQ(young.deferred.size(), 1u);
  const auto old = queue_.Await(queue_.Add(Event("\"transient@x.org\"", "", At("scheduled_at", -61'000)), headers));
  ASSERT_EQ(old.dead_letters.size(), 1u);
  EXPECT_EQ(old.dead_letters[0].outcome_class, "max_age");
}

TEST_F(WorkerTest, WhatHasExpiredIsNotSent) {
  Start();
  const auto turn =
      queue_.Await(queue_.Add(Event(R"(["accepted@x.org","accepted+2@x.org"])", "id-1", At("expires_at", -1))));
  EXPECT_EQ(turn.completed, 1);
  EXPECT_TRUE(turn.deferred.empty() && turn.dead_letters.empty());
  ASSERT_EQ(turn.reports.size(), 1u);
  EXPECT_EQ(turn.reports[0].change, Change::kExpired);
  EXPECT_EQ(turn.reports[0].id, "id-1");
  EXPECT_EQ(turn.reports[0].recipients, RecipientSet::All(2));
  EXPECT_EQ(Recorded(), "");
  EXPECT_NE(metrics_.Serialize().find("postbus_emails_unsent_total{reason=\"expired\"} 2"), std::string::npos);
}

TEST_F(WorkerTest, WhatWouldBeTriedAgainTooLateExpiresForThoseRecipients) {
  Start();
  const auto turn =
      queue_.Await(queue_.Add(Event(R"(["accepted@x.org","transient@x.org"])", "id-1", At("expires_at", 20'000))));
  EXPECT_EQ(turn.completed, 1);
  EXPECT_TRUE(turn.deferred.empty()) << "the first backoff is 30 s";
  ASSERT_EQ(turn.reports.size(), 2u);
  EXPECT_EQ(turn.reports[0].change, Change::kSent);
  EXPECT_EQ(turn.reports[1].change, Change::kExpired);
  EXPECT_EQ(turn.reports[1].recipients, RecipientSet{0b10});
  EXPECT_EQ(turn.reports[1].outcome, "transient") << "what was said of the last attempt";
}

TEST_F(WorkerTest, NoPermitIsGivenToWhatHasExpired) {
  Start();
  const TurnId id = queue_.Add(Event("\"past-deadline@x.org\"", "id-1", At("expires_at", 700)));
  const auto turn = queue_.Await(id);
  ASSERT_EQ(turn.reports.size(), 1u);
  EXPECT_EQ(turn.reports[0].change, Change::kExpired);
}

TEST_F(WorkerTest, WhatWaitsForAProviderExpiresThere) {
  std::ofstream(fault_file_) << "x";
  Start();
  std::vector<TurnId> turns;
  for (int i = 0; i < 30; ++i) {
    turns.push_back(queue_.Add(
        Event("\"fault-while-file+" + std::to_string(i) + "@x.org\"", "e" + std::to_string(i), At("expires_at", 900))));
  }
  for (const TurnId id : turns) {
    const auto turn = queue_.Await(id);
    EXPECT_EQ(turn.completed, 1);
    EXPECT_TRUE(turn.deferred.empty() && turn.dead_letters.empty());
    ASSERT_EQ(turn.reports.size(), 1u);
    EXPECT_EQ(turn.reports[0].change, Change::kExpired);
  }
}

// A suspect: the process died while a transport had it.
class SuspectTest : public WorkerTest {
 protected:
  TurnId AddSuspect(std::string_view to, PastTurn past) { return queue_.Add(Event(to), {}, Priority::kNormal, past); }
  static PastTurn Suspected(RecipientSet in_doubt = {}) {
    PastTurn past;
    past.in_doubt = in_doubt;
    past.crashes = 1;
    return past;
  }
  const Transport& transport() const { return worker_->generation().transports.front()->transport(); }
  bool IsOver(TurnId turn) { return queue_.turns()[turn].over(); }
  // For what must not happen: long enough that it would.
  bool StaysSo(const std::function<bool()>& condition) {
    const int64_t until = BootTimeMs() + 200;
    while (condition() && BootTimeMs() < until) std::this_thread::sleep_for(std::chrono::milliseconds(2));
    return condition();
  }
};

TEST_F(SuspectTest, GoesWhenNoOtherMailIsWithATransportAndNoneGoesBesideIt) {
  Start();
  const TurnId other = queue_.Add(Event("\"hold@x.org\""));
  ASSERT_TRUE(AwaitOutstanding(transport()));
  const TurnId suspect = AddSuspect("\"hold+suspect@x.org\"", Suspected());
  ASSERT_TRUE(queue_.AwaitThat([](FakeQueue& queue) { return queue.taken() == 2; }));
  EXPECT_TRUE(StaysSo([&] { return transport().outstanding() == 1; })) << "the other one is there";
  queue_.Revoke(other);  // its transport gives it back
  EXPECT_EQ(queue_.Await(other).abandoned, 1);
  ASSERT_TRUE(AwaitOutstanding(transport()));
  const TurnId later = queue_.Add(Event("\"accepted@x.org\""));
  EXPECT_TRUE(StaysSo([&] { return !IsOver(later) && !IsOver(suspect); }));
  queue_.Revoke(suspect);
  EXPECT_EQ(queue_.Await(later).completed, 1);
}

TEST_F(SuspectTest, IsNotWaitedForWhenItsTransportTakesItsTime) {
  Start();
  const TurnId suspect = AddSuspect("\"hold@x.org\"", Suspected());
  ASSERT_TRUE(AwaitOutstanding(transport()));
  EXPECT_EQ(queue_.Await(queue_.Add(Event("\"accepted@x.org\""))).completed, 1);
  EXPECT_FALSE(IsOver(suspect));
}

TEST_F(SuspectTest, GoesBesideTheOthersWhenTheyDoNotComeBack) {
  Start();
  const TurnId other = queue_.Add(Event("\"hold@x.org\""));
  ASSERT_TRUE(AwaitOutstanding(transport()));
  EXPECT_EQ(queue_.Await(AddSuspect("\"accepted@x.org\"", Suspected())).completed, 1);
  EXPECT_FALSE(IsOver(other));
}

TEST_F(SuspectTest, OneWhoseTransportIsDownHoldsNobodyBack) {
  AddBackup();
  config_.routes.emplace_back().use = {"backup"};
  config_.routes[0].use = {"primary"};
  config_.routes[0].match.recipient_domains = {"down.org"};
  std::ofstream(fault_file_) << "x";
  Start();
  const TurnId stuck = AddSuspect("\"fault-while-file@down.org\"", Suspected());
  EXPECT_TRUE(AwaitThat([&] {
    return metrics_.Serialize().find("postbus_transport_breaker_open{transport=\"primary\"} 1") != std::string::npos;
  }));
  for (int i = 0; i < 5; ++i) {
    const std::string to = "\"accepted+" + std::to_string(i) + "@x.org\"";
    EXPECT_EQ(queue_.Await(AddSuspect(to, Suspected())).completed, 1);
    EXPECT_EQ(queue_.Await(queue_.Add(Event(to))).completed, 1);
  }
  EXPECT_FALSE(IsOver(stuck));
  std::filesystem::remove(fault_file_);
  EXPECT_EQ(queue_.Await(stuck).completed, 1);
}

TEST_F(SuspectTest, WhomAServerAcceptedIsToldOfAndOnlyTheOthersAreDeadLetters) {
  Start();
  PastTurn poison = Suspected({0b010});
  poison.accepted = {0b001};
  poison.crashes = 2;
  const auto turn = queue_.Await(AddSuspect(R"(["accepted@x.org","accepted+2@x.org","accepted+3@x.org"])", poison));
  ASSERT_EQ(turn.reports.size(), 2u);
  EXPECT_EQ(turn.reports[0].change, Change::kSent);
  EXPECT_EQ(turn.reports[0].recipients, RecipientSet{0b001});
  ASSERT_EQ(turn.dead_letters.size(), 1u);
  EXPECT_EQ(turn.dead_letters[0].outcome_class, "poison");
  EXPECT_EQ(turn.dead_letters[0].recipients, RecipientSet{0b110});
  EXPECT_EQ(turn.completed, 1);
}

TEST_F(SuspectTest, InDoubtItGoesAgainAsTheSameRecord) {
  Start();
  const auto turn = queue_.Await(AddSuspect("\"accepted@x.org\"", Suspected({0b1})));
  EXPECT_TRUE(turn.deferred.empty()) << "a copy would be under no suspicion";
  ASSERT_EQ(turn.reports.size(), 1u);
  EXPECT_EQ(turn.reports[0].change, Change::kSent);
}

constexpr auto kIgnore = [](const Status&) {};

TEST_F(WorkerTest, WhatWasCancelledBeforeItsTurnIsNotSent) {
  Start();
  ASSERT_TRUE(queue_.Cancel("id-1", kIgnore).ok());
  const auto turn = queue_.Await(queue_.Add(Event(R"(["accepted@x.org","accepted+2@x.org"])", "id-1")));
  EXPECT_EQ(turn.completed, 1);
  EXPECT_TRUE(turn.deferred.empty() && turn.dead_letters.empty());
  ASSERT_EQ(turn.reports.size(), 1u);
  EXPECT_EQ(turn.reports[0].change, Change::kCancelled);
  EXPECT_EQ(turn.reports[0].id, "id-1");
  EXPECT_EQ(turn.reports[0].recipients, RecipientSet::All(2));
  EXPECT_EQ(Recorded(), "");
  EXPECT_NE(metrics_.Serialize().find("postbus_emails_unsent_total{reason=\"cancelled\"} 2"), std::string::npos);
  EXPECT_EQ(queue_.Await(queue_.Add(Event("\"accepted@x.org\"", "id-2"))).reports.at(0).change, Change::kSent);
}

// Neither put off once more nor sent: a scheduled mail that comes back, and one that is replayed.
TEST_F(WorkerTest, WhatComesAgainIsCancelledWhateverItComesAs) {
  Start();
  ASSERT_TRUE(queue_.Cancel("id-1", kIgnore).ok());
  EventHeaders headers;
  headers.recipients = RecipientSet{0b10};
  headers.attempt = 1;
  headers.replay = 1;
  for (const std::string& more : {At("scheduled_at", 3'600'000), At("scheduled_at", -1'000), std::string()}) {
    const auto turn = queue_.Await(queue_.Add(Event(R"(["a@x.org","accepted@x.org"])", "id-1", more), headers));
    EXPECT_TRUE(turn.deferred.empty() && turn.dead_letters.empty());
    ASSERT_EQ(turn.reports.size(), 1u);
    EXPECT_EQ(turn.reports[0].change, Change::kCancelled);
    EXPECT_EQ(turn.reports[0].recipients, RecipientSet{0b10});
    EXPECT_EQ(turn.reports[0].replay, 1);
  }
  EXPECT_EQ(Recorded(), "");
}

TEST_F(WorkerTest, WhatWaitsForAProviderIsCancelledThere) {
  std::ofstream(fault_file_) << "x";
  Start();
  std::vector<TurnId> turns;
  for (int i = 0; i < 30; ++i) {
    const std::string number = std::to_string(i);
    turns.push_back(queue_.Add(Event("\"fault-while-file+" + number + "@x.org\"", "id-" + number)));
  }
  ASSERT_TRUE(queue_.AwaitThat([](FakeQueue& queue) { return queue.taken() == 30; }));
  for (int i = 1; i < 30; ++i) ASSERT_TRUE(queue_.Cancel("id-" + std::to_string(i), kIgnore).ok());
  for (int i = 1; i < 30; ++i) {
    const auto turn = queue_.Await(turns[static_cast<size_t>(i)]);
    EXPECT_EQ(turn.completed, 1);
    EXPECT_TRUE(turn.deferred.empty() && turn.dead_letters.empty());
    ASSERT_EQ(turn.reports.size(), 1u);
    EXPECT_EQ(turn.reports[0].change, Change::kCancelled);
  }
  EXPECT_FALSE(queue_.turns()[turns[0]].over()) << "nobody cancelled this one";
}

TEST_F(WorkerTest, ATransportGivesBackWhatIsCancelledAndIsNotBlamed) {
  Start();
  std::vector<TurnId> turns;
  for (int i = 0; i < 20; ++i) turns.push_back(queue_.Add(Event("\"hold@x.org\"", "id-" + std::to_string(i))));
  ASSERT_TRUE(AwaitThat([&] { return worker_->generation().transports[0]->transport().outstanding() == 20; }));
  for (int i = 0; i < 20; ++i) ASSERT_TRUE(queue_.Cancel("id-" + std::to_string(i), kIgnore).ok());
  for (const TurnId id : turns) {
    const auto turn = queue_.Await(id);
    ASSERT_EQ(turn.reports.size(), 1u);
    EXPECT_EQ(turn.reports[0].change, Change::kCancelled);
    EXPECT_EQ(turn.reports[0].outcome, "not_sent") << "what was said of the last attempt";
  }
  EXPECT_NE(metrics_.Serialize().find("postbus_transport_breaker_open{transport=\"primary\"} 0"), std::string::npos)
      << "20 different mails came back unsent";
  EXPECT_EQ(queue_.Await(queue_.Add(Event("\"accepted@x.org\""))).reports.at(0).change, Change::kSent);
}

TEST_F(WorkerTest, OfAMailThatIsPartlySentTheRestIsCancelled) {
  std::ofstream(fault_file_) << "x";
  Start();
  const TurnId id = queue_.Add(Event(R"(["accepted@x.org","fault-while-file@x.org","rejected@x.org"])", "id-1"));
  ASSERT_TRUE(queue_.AwaitThat([&](FakeQueue&) {
    return metrics_.Serialize().find(R"(outcome="provider_fault",priority="normal",transport="primary"} 1)") !=
           std::string::npos;
  }));
  ASSERT_TRUE(queue_.Cancel("id-1", kIgnore).ok());
  const auto turn = queue_.Await(id);
  std::map<Change, RecipientSet> ends;
  for (const StatusRecord& report : turn.reports) ends[report.change].bits |= report.recipients.bits;
  EXPECT_EQ(ends[Change::kSent], RecipientSet{0b001});
  EXPECT_EQ(ends[Change::kDeadLettered], RecipientSet{0b100});
  EXPECT_EQ(ends[Change::kCancelled], RecipientSet{0b010});
  EXPECT_EQ(turn.reports.size(), 3u);
}

// The last to be asked is who gives the permit: the shard itself is kept by another mail's submit for three seconds.
TEST_F(WorkerTest, NoPermitIsGivenToWhatWasCancelledAMomentAgo) {
  std::ofstream(fault_file_) << "x";
  Start();
  const TurnId late = queue_.Add(Event("\"ask-late@x.org\"", "id-1"));
  ASSERT_TRUE(AwaitOutstanding(worker_->generation().transports[0]->transport()));
  const TurnId slow = queue_.Add(Event("\"slow-submit@x.org\"", "id-2"));
  ASSERT_TRUE(queue_.AwaitThat([](FakeQueue& queue) { return queue.taken() == 2; }));
  std::this_thread::sleep_for(std::chrono::milliseconds(50));  // it is in that submit, most likely
  ASSERT_TRUE(queue_.Cancel("id-1", kIgnore).ok());
  std::filesystem::remove(fault_file_);
  const auto turn = queue_.Await(late);
  ASSERT_EQ(turn.reports.size(), 1u);
  EXPECT_EQ(turn.reports[0].change, Change::kCancelled);
  EXPECT_EQ(queue_.Await(slow).reports.at(0).change, Change::kSent);
}

// It asks for its permit while, or after, somebody cancels it: sent or cancelled, never both and never neither.
TEST_F(WorkerTest, ACancellationAndASendingAtTheSameMomentAreOneOrTheOther) {
  Start();
  constexpr int kMails = 400;
  std::vector<TurnId> turns;
  std::thread canceller([&] {
    for (int i = 0; i < kMails; i += 2) {
      EXPECT_TRUE(queue_.Cancel("id-" + std::to_string(i), kIgnore).ok());
      std::this_thread::yield();
    }
  });
  for (int i = 0; i < kMails; ++i) {
    const std::string number = std::to_string(i);
    turns.push_back(queue_.Add(Event("\"accepted+" + number + "@x.org\"", "id-" + number)));
  }
  int cancelled = 0;
  for (int i = 0; i < kMails; ++i) {
    const auto turn = queue_.Await(turns[static_cast<size_t>(i)]);
    EXPECT_EQ(turn.completed, 1);
    ASSERT_EQ(turn.reports.size(), 1u) << i;
    if (turn.reports[0].change == Change::kCancelled) {
      ++cancelled;
      EXPECT_EQ(i % 2, 0);
    } else {
      EXPECT_EQ(turn.reports[0].change, Change::kSent);
    }
  }
  canceller.join();
  RecordProperty("cancelled", cancelled);
}

TEST_F(WorkerTest, ASecondCompletionIsIgnoredAndCounted) {
  Start();
  const TurnId id = queue_.Add(Event("\"twice@x.org\""));
  EXPECT_EQ(queue_.Await(id).completed, 1);
  for (int i = 0; i < 20; ++i) queue_.Await(queue_.Add(Event("\"accepted+" + std::to_string(i) + "@x.org\"")));
  ASSERT_TRUE(queue_.AwaitThat([&](FakeQueue&) {
    return metrics_.Serialize().find("postbus_duplicate_completions_total{transport=\"primary\"} 1") !=
           std::string::npos;
  }));
  EXPECT_EQ(queue_.turns()[id].completed, 1);
}

TEST_F(WorkerTest, RevokedTurnsAreCancelledAndHandedBack) {
  Start();
  const TurnId held = queue_.Add(Event("\"hold@x.org\""));
  ASSERT_TRUE(queue_.AwaitThat([](FakeQueue& queue) { return queue.taken() == 1; }));
  queue_.Await(queue_.Add(Event("\"accepted@x.org\"")));  // the transport has both by now
  queue_.Revoke(held);
  const auto turn = queue_.Await(held);
  EXPECT_EQ(turn.abandoned, 1);
  EXPECT_EQ(turn.completed, 0);
  EXPECT_TRUE(turn.deferred.empty());
}

TEST_F(WorkerTest, DrainFinishesWhatATransportHasAndHandsBackTheRest) {
  Start();
  const TurnId held = queue_.Add(Event("\"hold@x.org\""));
  queue_.Await(queue_.Add(Event("\"accepted@x.org\"")));
  std::ofstream(fault_file_) << "x";
  const TurnId waiting = queue_.Add(Event("\"fault-while-file@x.org\""));
  ASSERT_TRUE(queue_.AwaitThat([&](FakeQueue& queue) { return queue.taken() == 3; }));
  EXPECT_TRUE(worker_->Drain(BootTimeMs() + 10'000));
  EXPECT_EQ(queue_.turns()[held].completed, 1);
  EXPECT_EQ(queue_.turns()[held].reports.at(0).change, Change::kSent);
  EXPECT_EQ(queue_.turns()[waiting].abandoned, 1);
}

TEST_F(WorkerTest, APluginThatCannotBeLoadedIsAnErrorAtItsPlace) {
  config_.transports[0].plugin = "/nowhere/acme.so";
  config_.transports[0].mark = {.file = "postbus.yaml", .line = 4, .column = 12};
  log_ = std::make_unique<Log>(config_.log);
  auto renderer = LoadRenderer(config_, log_->Named("renderer"));
  ASSERT_TRUE(renderer.ok());
  const auto worker = Worker::Start(config_, std::move(*renderer), queue_, metrics_, *log_);
  ASSERT_FALSE(worker.ok());
  EXPECT_TRUE(worker.status().message().starts_with("postbus.yaml:4:12: ")) << worker.status().message();
  EXPECT_NE(worker.status().message().find("/nowhere/acme.so"), std::string_view::npos);
}

TEST_F(WorkerTest, AfterAReloadMailsGoByTheNewRouteAndTheSameTransportLivesOn) {
  AddBackup();
  config_.routes.front().use = {"primary"};
  Start();
  EXPECT_EQ(queue_.Await(queue_.Add(Event("\"accepted@x.org\""))).reports.at(0).transport, "primary");
  const Transport* const before = &worker_->generation().transports[1]->transport();
  config_.routes.front().use = {"backup"};
  config_.transports.erase(config_.transports.begin());
  Reload();
  EXPECT_EQ(worker_->generation().number, 2u);
  EXPECT_EQ(&worker_->generation().transports[0]->transport(), before);
  EXPECT_EQ(queue_.Await(queue_.Add(Event("\"accepted@x.org\""))).reports.at(0).transport, "backup");
  EXPECT_TRUE(TendUntilDone());
}

TEST_F(WorkerTest, AReloadWithOtherOptionsMakesAnotherInstance) {
  Start();
  const auto before = worker_->generation().transports[0];
  config_.transports[0].options[2].text = "21";
  Reload();
  EXPECT_NE(worker_->generation().transports[0], before);
  EXPECT_EQ(queue_.Await(queue_.Add(Event("\"accepted@x.org\""))).completed, 1);
}

TEST_F(WorkerTest, AReloadWithAnotherFileBehindAnOptionMakesAnotherInstance) {
  config_.transports[0].options[0].name = "ca_file";
  config_.transports[0].options[0].text = fault_file_;
  std::ofstream(fault_file_) << "one";
  Start();
  const auto before = worker_->generation().transports[0];
  Reload();
  EXPECT_EQ(worker_->generation().transports[0], before);
  std::ofstream(fault_file_) << "other";
  Reload();
  EXPECT_NE(worker_->generation().transports[0], before);
}

TEST_F(WorkerTest, AMailUnderWayEndsWithTheTransportItIsWith) {
  AddBackup();
  config_.routes.front().use = {"primary"};
  Start();
  const TurnId held = queue_.Add(Event("\"hold@x.org\""));
  ASSERT_TRUE(queue_.AwaitThat([&](FakeQueue& queue) { return queue.taken() == 1; }));
  ASSERT_TRUE(AwaitOutstanding(worker_->generation().transports[0]->transport()));
  config_.routes.front().use = {"backup"};
  config_.transports.erase(config_.transports.begin());
  Reload();
  EXPECT_EQ(queue_.Await(queue_.Add(Event("\"accepted@x.org\""))).reports.at(0).transport, "backup");
  EXPECT_EQ(queue_.turns()[held].completed, 0);
  EXPECT_TRUE(TendUntilDone()) << "quiesce lets it go, and its transport is ended";
  const auto turn = queue_.Await(held);
  EXPECT_EQ(turn.completed, 1);
  EXPECT_EQ(turn.reports.at(0).transport, "primary");
}

TEST_F(WorkerTest, AMailThatWaitsForAProviderGoesByTheTransportThatAReloadAdds) {
  Start();
  std::ofstream(fault_file_) << "x";
  const TurnId waiting = queue_.Add(Event("\"fault-while-file@x.org\""));
  ASSERT_TRUE(queue_.AwaitThat([&](FakeQueue& queue) { return queue.taken() == 1; }));
  AddBackup();
  Reload();
  EXPECT_EQ(queue_.Await(waiting).reports.at(0).transport, "backup");
}

TEST_F(WorkerTest, RecipientsAndRetryAreThoseOfTheNewConfiguration) {
  Start();
  config_.recipients.allow = {"*@y.org"};
  config_.retry.max_retries = 0;
  Reload();
  EXPECT_EQ(queue_.Await(queue_.Add(Event("\"accepted@x.org\""))).dead_letters.at(0).outcome_class,
            "recipient_not_allowed");
  EXPECT_EQ(queue_.Await(queue_.Add(Event("\"transient@y.org\""))).dead_letters.size(), 1u);
}

TEST_F(WorkerTest, AReloadThatFailsChangesNothing) {
  Start();
  const Generation* const before = &worker_->generation();
  Config broken = config_;
  TransportConfig& acme = broken.transports.emplace_back(broken.transports[0]);
  acme.name = "acme";
  acme.plugin = "/nowhere/acme.so";
  acme.mark = {.file = "postbus.yaml", .line = 4, .column = 12};
  broken.routes.front().use = {"acme"};
  const Status status = worker_->Reload(broken, before->renderer);
  EXPECT_TRUE(status.message().starts_with("postbus.yaml:4:12: ")) << status.message();
  EXPECT_EQ(&worker_->generation(), before);
  EXPECT_FALSE(worker_->Tend());
  EXPECT_EQ(queue_.Await(queue_.Add(Event("\"accepted@x.org\""))).reports.at(0).transport, "primary");
}

TEST_F(WorkerTest, EveryTurnEndsExactlyOnceWhileReloadsFlipTheRoute) {
  config_.host.threads = 2;
  AddBackup();
  Start();
  const TransportConfig primary = config_.transports[0];
  const TransportConfig backup = config_.transports[1];
  const char* words[] = {"accepted", "transient", "not-sent-once", "fault-once", "hold"};
  constexpr int kReloads = 20;
  constexpr int kEach = 100;
  for (int reload = 0; reload < kReloads; ++reload) {
    for (int i = 0; i < kEach; ++i) {
      const std::string number = std::to_string(reload * kEach + i);
      queue_.Add(Event("\"" + std::string(words[i % 5]) + "+" + number + "@x.org\"", "e" + number));
    }
    config_.transports = {reload % 2 == 0 ? backup : primary};
    config_.routes.front().use = {config_.transports[0].name};
    Reload();
  }
  EXPECT_TRUE(worker_->Drain(BootTimeMs() + 30'000));
  for (int i = 1; i <= kReloads * kEach; ++i) {
    const auto turn = queue_.turns()[static_cast<TurnId>(i)];
    ASSERT_LE(turn.completed + turn.abandoned, 1) << "event " << i;
    if (turn.completed == 0) continue;
    const auto sent = static_cast<size_t>(std::count_if(turn.reports.begin(), turn.reports.end(),
                                                        [](const auto& r) { return r.change == Change::kSent; }));
    ASSERT_EQ(turn.deferred.size() + turn.dead_letters.size() + sent, 1u) << "event " << i;
  }
  EXPECT_FALSE(worker_->Tend());
}

class AtMostOnceTest : public WorkerTest {
 protected:
  AtMostOnceTest() { config_.retry.in_doubt = WhenInDoubt::kDeadLetter; }

  bool AwaitClaim(TurnId turn, int claims = 1) {
    return AwaitThat([&] { return queue_.turns()[turn].claims == claims; });
  }
};

TEST_F(AtMostOnceTest, NoMailGoesBeforeItsClaimIsDurable) {
  Start();
  queue_.HoldClaims();
  std::vector<TurnId> turns;
  for (int i = 0; i < 100; ++i) turns.push_back(queue_.Add(Event("\"accepted+" + std::to_string(i) + "@x.org\"")));
  for (const TurnId turn : turns) ASSERT_TRUE(AwaitClaim(turn));
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  EXPECT_EQ(Recorded(), "");
  queue_.GrantClaims();
  for (const TurnId turn : turns) {
    const auto ended = queue_.Await(turn);
    EXPECT_EQ(ended.completed, 1);
    EXPECT_EQ(ended.reports.at(0).change, Change::kSent);
    EXPECT_EQ(ended.claims, 1);
  }
}

TEST_F(AtMostOnceTest, WithRetryNothingIsClaimed) {
  config_.retry.in_doubt = WhenInDoubt::kRetry;
  Start();
  EXPECT_EQ(queue_.Await(queue_.Add(Event("\"accepted@x.org\""))).claims, 0);
}

TEST_F(AtMostOnceTest, AMailInDoubtIsADeadLetter) {
  Start();
  const auto turn = queue_.Await(queue_.Add(Event(R"(["in_doubt@x.org","accepted@x.org","transient@x.org"])")));
  ASSERT_EQ(turn.dead_letters.size(), 1u);
  EXPECT_EQ(turn.dead_letters[0].outcome_class, "in_doubt");
  EXPECT_EQ(turn.dead_letters[0].recipients, RecipientSet{0b001});
  ASSERT_EQ(turn.deferred.size(), 1u);
  EXPECT_EQ(turn.deferred[0].recipients, RecipientSet{0b100}) << "what was certainly not sent comes again";
  EXPECT_EQ(turn.completed, 1);
}

TEST_F(AtMostOnceTest, WhatADeadHostClaimedIsADeadLetterWhateverTheConfigurationSaysNow) {
  for (const WhenInDoubt now : {WhenInDoubt::kDeadLetter, WhenInDoubt::kRetry}) {
    config_.retry.in_doubt = now;
    Start();
    PastTurn past;
    past.claimed = true;
    past.accepted = RecipientSet{0b010};
    EventHeaders headers;
    headers.recipients = RecipientSet{0b011};
    const std::string event = Event(R"(["a@x.org","b@x.org","c@x.org"])");
    const auto turn = queue_.Await(queue_.Add(event, headers, Priority::kNormal, past));
    EXPECT_EQ(turn.completed, 1);
    ASSERT_EQ(turn.dead_letters.size(), 1u);
    EXPECT_EQ(turn.dead_letters[0].outcome_class, "in_doubt");
    EXPECT_EQ(turn.dead_letters[0].recipients, RecipientSet{0b001})
        << "not whom it was accepted for, not whom it is not about";
    EXPECT_EQ(Recorded(), "");
    worker_.reset();
  }
}

TEST_F(AtMostOnceTest, AMailThatWaitsGivesItsClaimBackAndAsksAgain) {
  Start();
  const TurnId turn = queue_.Add(Event("\"not-sent-once@x.org\""));
  const auto ended = queue_.Await(turn);
  EXPECT_EQ(ended.completed, 1);
  EXPECT_EQ(ended.reports.at(0).change, Change::kSent);
  EXPECT_EQ(ended.claims, 2);

  std::ofstream(fault_file_) << "x";
  const TurnId waits = queue_.Add(Event("\"fault-while-file@x.org\""));
  ASSERT_TRUE(AwaitClaim(waits));
  EXPECT_TRUE(AwaitThat([&] { return !queue_.turns()[waits].claimed; })) << "nobody is to doubt it while it waits";
  // Nor are those claimed that wait behind it, while the transport is left alone.
  const TurnId behind = queue_.Add(Event("\"accepted@x.org\""));
  ASSERT_TRUE(queue_.AwaitThat([&](FakeQueue& queue) { return queue.taken() == 3; }));
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  EXPECT_LE(int{queue_.turns()[waits].claimed} + int{queue_.turns()[behind].claimed}, 1);
  std::filesystem::remove(fault_file_);
  EXPECT_EQ(queue_.Await(waits).reports.back().change, Change::kSent);
  EXPECT_EQ(queue_.Await(behind).reports.back().change, Change::kSent);
}

TEST_F(AtMostOnceTest, WhereSomeAreSentTheClaimOfTheOthersStays) {
  Start();
  const auto turn = queue_.Await(queue_.Add(Event(R"(["accepted@x.org","not-sent-once@x.org"])")));
  EXPECT_EQ(turn.completed, 1);
  EXPECT_EQ(turn.claims, 1);
  RecipientSet sent;
  for (const StatusRecord& report : turn.reports) sent.bits |= report.recipients.bits;
  EXPECT_EQ(sent, RecipientSet::All(2));
}

TEST_F(AtMostOnceTest, WhatIsRevokedOrDrainedBeforeItsClaimIsDurableIsHandedBack) {
  Start();
  queue_.HoldClaims();
  const TurnId revoked = queue_.Add(Event("\"accepted@x.org\""));
  const TurnId drained = queue_.Add(Event("\"accepted+2@x.org\""));
  ASSERT_TRUE(AwaitClaim(revoked) && AwaitClaim(drained));
  queue_.Revoke(revoked);
  EXPECT_EQ(queue_.Await(revoked).abandoned, 1);
  queue_.GrantClaims();  // of a turn that is over, too
  EXPECT_EQ(queue_.Await(drained).completed, 1);
  const TurnId last = queue_.Add(Event("\"accepted+3@x.org\""));
  ASSERT_TRUE(AwaitClaim(last));
  EXPECT_TRUE(worker_->Drain(BootTimeMs() + 10'000));
  EXPECT_EQ(queue_.turns()[last].abandoned, 1);
}

TEST_F(AtMostOnceTest, AHighOneWaitsForNoneOfTheClaimsOfOthers) {
  config_.transports[0].rate_limit = {.per_second = 5, .burst = 1, .per_domain = {}};
  Start();
  for (int i = 0; i < 50; ++i) {
    const std::string to = "\"accepted+" + std::to_string(i) + "@x.org\"";
    queue_.Add(Event(to, "", ",\"priority\":\"low\""), {}, Priority::kLow);
  }
  ASSERT_TRUE(queue_.AwaitThat([&](FakeQueue& queue) { return queue.taken() == 50; }));
  const TurnId turn = queue_.Add(Event("\"accepted+high@x.org\"", "", ",\"priority\":\"high\""), {}, Priority::kHigh);
  queue_.Await(turn);
  int sent_before = 0;
  int claimed = 0;
  for (const auto& [id, each] : queue_.turns()) {
    sent_before += id != turn ? each.completed : 0;
    claimed += each.over() ? 0 : each.claimed ? 1 : 0;
  }
  EXPECT_LT(sent_before, 25);
  EXPECT_LE(claimed, 3) << "a slow transport claims no more than it takes soon";
}

TEST_F(AtMostOnceTest, WhatATransportHasCountsToo) {
  config_.host.max_in_flight = 1000;
  Start();
  for (int i = 0; i < 600; ++i) queue_.Add(Event("\"hold+" + std::to_string(i) + "@x.org\""));
  const auto claimed = [&] {
    const auto turns = queue_.turns();
    return std::count_if(turns.begin(), turns.end(), [](const auto& turn) { return turn.second.claimed; });
  };
  ASSERT_TRUE(AwaitThat([&] { return claimed() >= 256; }));
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  EXPECT_EQ(claimed(), 256);
}

TEST_F(AtMostOnceTest, EveryTurnEndsExactlyOnceWhileReloadsFlipTheRoute) {
  config_.host.threads = 1;
  AddBackup();
  Start();
  const TransportConfig primary = config_.transports[0];
  const TransportConfig backup = config_.transports[1];
  const char* words[] = {"accepted", "transient", "not-sent-once", "fault-once", "hold"};
  constexpr int kReloads = 10;
  constexpr int kEach = 100;
  for (int reload = 0; reload < kReloads; ++reload) {
    for (int i = 0; i < kEach; ++i) {
      const std::string number = std::to_string(reload * kEach + i);
      queue_.Add(Event("\"" + std::string(words[i % 5]) + "+" + number + "@x.org\"", "e" + number));
    }
    config_.transports = {reload % 2 == 0 ? backup : primary};
    config_.routes.front().use = {config_.transports[0].name};
    Reload();
  }
  EXPECT_TRUE(AwaitThat([&] {
    const auto turns = queue_.turns();
    return std::any_of(turns.begin(), turns.end(), [](const auto& turn) { return turn.second.completed > 0; });
  }));
  EXPECT_TRUE(worker_->Drain(BootTimeMs() + 30'000));
  int completed = 0;
  for (int i = 1; i <= kReloads * kEach; ++i) {
    const auto turn = queue_.turns()[static_cast<TurnId>(i)];
    ASSERT_LE(turn.completed + turn.abandoned, 1) << "event " << i;
    if (turn.completed == 0) continue;
    ++completed;
    ASSERT_GE(turn.claims, 1) << "event " << i << " went without a claim";
  }
  EXPECT_GT(completed, 0);
  EXPECT_FALSE(worker_->Tend());
}

TEST(GenerationTest, KeysThatNeedARestartAreNamed) {
  const Config current;
  Config next;
  EXPECT_EQ(KeysThatNeedRestart(current, next), "");
  next.routes.emplace_back();
  next.host.drain_timeout_ms = 1;
  EXPECT_EQ(KeysThatNeedRestart(current, next), "");
  next.queue.kafka.topic = "other";
  next.retry.in_doubt = WhenInDoubt::kDeadLetter;
  next.host.threads = 7;
  next.api.port = 1;
  EXPECT_EQ(KeysThatNeedRestart(current, next), "queue.kafka.topic, retry.in_doubt, host.threads, api.listen");
}

TEST_F(WorkerTest, AnotherPluginThanTheOneThatIsPinnedIsRefused) {
  config_.transports[0].sha256 = std::string(64, '0');
  config_.transports[0].sha256_mark = {.file = "postbus.yaml", .line = 5, .column = 3};
  log_ = std::make_unique<Log>(config_.log);
  auto renderer = LoadRenderer(config_, log_->Named("renderer"));
  ASSERT_TRUE(renderer.ok());
  const auto worker = Worker::Start(config_, std::move(*renderer), queue_, metrics_, *log_);
  ASSERT_FALSE(worker.ok());
  EXPECT_TRUE(worker.status().message().starts_with("postbus.yaml:5:3: ")) << worker.status().message();
  const auto file = ReadPluginFile(config_.transports[0].plugin);
  ASSERT_TRUE(file.ok());
  EXPECT_NE(worker.status().message().find(file->sha256), std::string_view::npos) << "what to write instead";
  config_.transports[0].sha256 = file->sha256;
  Start();
}

TEST_F(WorkerTest, EveryTurnOfManyEndsExactlyOnce) {
  Start();
  const unsigned seed = std::random_device{}();
  std::mt19937 random(seed);
  const char* words[] = {"accepted", "transient", "rejected", "in_doubt", "not-sent-once"};
  constexpr int kEvents = 5'000;
  for (int i = 0; i < kEvents; ++i) {
    queue_.Add(
        Event("\"" + std::string(words[random() % 5]) + "+" + std::to_string(i) + "@x.org\"", "e" + std::to_string(i)));
  }
  ASSERT_TRUE(queue_.AwaitThat([](FakeQueue& queue) { return queue.taken() == kEvents; }));
  for (int i = 1; i <= kEvents; ++i) {
    const auto turn = queue_.Await(static_cast<TurnId>(i));
    ASSERT_EQ(turn.completed, 1) << "event " << i << ", seed " << seed;
    ASSERT_EQ(turn.abandoned, 0);
    ASSERT_EQ(turn.deferred.size() + turn.dead_letters.size() +
                  static_cast<size_t>(std::count_if(turn.reports.begin(), turn.reports.end(),
                                                    [](const auto& r) { return r.change == Change::kSent; })),
              1u);
  }
}

}  // namespace
}  // namespace postbus
