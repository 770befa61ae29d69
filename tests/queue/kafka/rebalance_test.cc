// Members of one group come and go; judged by what each event's turns were, by id.
#include <signal.h>
#include <sys/wait.h>

#include <array>
#include <filesystem>
#include <map>
#include <random>

#include "tests/queue/kafka/kafka_test.h"

namespace postbus::kafka {
namespace {

// A host that takes events, holds each for a while, and ends its turn. What is revoked before its point of no return it
// abandons; what is past it (one in four) it completes in its time.
class Member {
 public:
  using Ledger = std::function<void(const std::string& id)>;

  Member(std::unique_ptr<TestHost> host, unsigned seed, Ledger ended)
      : host_(std::move(host)), random_(seed), ended_(std::move(ended)), thread_([this] { Run(); }) {}
  ~Member() {
    running_ = false;
    thread_.join();
  }

  Queue& queue() { return host_->queue(); }

 private:
  void Run() {
    QueuedEvent event;
    std::vector<TurnId> revoked;
    while (running_) {
      bool busy = false;
      while (turns_.size() < 300 && host_->shard().Next(event)) {
        EXPECT_TRUE(turns_.emplace(event.turn, event.headers.id).second) << "a turn has its number for itself";
        busy = true;
      }
      revoked.clear();
      host_->shard().TakeRevoked(revoked);
      for (const TurnId turn : revoked) {
        EXPECT_TRUE(turns_.contains(turn)) << "only turns under way are named, and once";
        EXPECT_TRUE(told_.insert(turn).second);
        if (random_() % 4 == 0) continue;  // past its point of no return
        host_->shard().Abandon(turn);
        turns_.erase(turn);
      }
      for (size_t i = random_() % 30; i > 0 && !turns_.empty(); --i) {
        const auto turn = std::next(turns_.begin(), static_cast<ptrdiff_t>(random_() % turns_.size()));
        ended_(turn->second);
        host_->shard().Complete(turn->first);
        turns_.erase(turn);
        busy = true;
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(busy ? 2 : 5));
    }
    host_->queue().StopConsuming();
    for (const auto& [turn, id] : turns_) host_->shard().Abandon(turn);
    EXPECT_TRUE(host_->Stop());
  }

  std::unique_ptr<TestHost> host_;
  std::mt19937 random_;
  Ledger ended_;
  std::atomic<bool> running_{true};
  std::map<TurnId, std::string> turns_;
  std::set<TurnId> told_;
  std::thread thread_;
};

class RebalanceTest : public KafkaTest {
 protected:
  RebalanceTest() : KafkaTest(4) {}

  void Publish(Queue& queue, int count) {
    for (int i = 0; i < count; ++i) Publish(queue, "e-" + std::to_string(published_++), i);
  }
  // With a key each; all of them twice, as by two API processes.
  void PublishTwice(Queue& queue, int count) {
    const int first = std::exchange(published_, published_ + count);
    for (int i = 0; i < 2 * count; ++i) {
      std::string id = std::to_string(first + i % count);
      id = "00000000-0000-5000-8000-" + std::string(12 - id.size(), '0') + id;
      Publish(queue, id, i % count);
    }
  }
  void Publish(Queue& queue, const std::string& id, int i) {
    ASSERT_TRUE(queue
                    .Publish({.id = id,
                              .priority = static_cast<Priority>(i % kPriorities),
                              .accepted_at_unix_ms = accepted_at_,
                              .value = "value",
                              .traceparent = {}},
                             [this, id](const Status& status) {
                               const std::lock_guard lock(mutex_);
                               if (status.ok()) accepted_.insert(id);
                             })
                    .ok());
  }
  std::unique_ptr<Member> NewMember(unsigned seed) {
    return std::make_unique<Member>(OpenHost(), seed, [this](const std::string& id) {
      const std::lock_guard lock(mutex_);
      ++ended_[id];
    });
  }
  std::vector<std::string> Lost() {
    const std::lock_guard lock(mutex_);
    std::vector<std::string> lost;
    for (const std::string& id : accepted_) {
      if (!ended_.contains(id)) lost.push_back(id);
    }
    return lost;
  }

  const int64_t accepted_at_ = UnixTimeMs();
  int published_ = 0;
  std::mutex mutex_;
  std::set<std::string> accepted_;
  std::map<std::string, int> ended_;
};

TEST_F(RebalanceTest, MembersComeAndGoAndNothingIsLost) {
  auto first = NewMember(1);
  Publish(first->queue(), 1000);
  auto second = NewMember(2);
  Publish(second->queue(), 1000);
  EXPECT_TRUE(WaitUntil([&] { return second->queue().Stats().assigned_partitions > 0; }));
  auto third = NewMember(3);
  EXPECT_TRUE(WaitUntil([&] { return third->queue().Stats().assigned_partitions > 0; }));
  Publish(third->queue(), 500);
  third.reset();  // a static member: its partitions wait for it until its session is over
  Publish(first->queue(), 500);
  third = NewMember(4);
  first.reset();
  EXPECT_TRUE(WaitUntil([&] { return accepted_.size() == 3000 && Lost().empty(); })) << Lost().size() << " lost";
  EXPECT_EQ(Lost(), std::vector<std::string>());
  second.reset();
  third.reset();
  int repeated = 0;
  for (const auto& [id, count] : ended_) repeated += count - 1;
  RecordProperty("repeated", repeated);
  // Only what was past its point of no return, and what ended within a commit interval of a move, may be sent again.
  EXPECT_LT(repeated, 300);
}

TEST_F(RebalanceTest, MembersComeAndGoAndARepeatedKeyIsNeitherLostNorSentAgain) {
  auto first = NewMember(1);
  PublishTwice(first->queue(), 500);
  auto second = NewMember(2);
  PublishTwice(second->queue(), 500);
  EXPECT_TRUE(WaitUntil([&] { return second->queue().Stats().assigned_partitions > 0; }));
  first.reset();
  PublishTwice(second->queue(), 500);
  EXPECT_TRUE(WaitUntil([&] { return second->queue().Stats().assigned_partitions == 12; }));
  // With another state_dir: nothing of it is known there.
  config_.state_dir += "/other";
  auto third = NewMember(3);
  EXPECT_TRUE(WaitUntil([&] { return third->queue().Stats().assigned_partitions > 0; }));
  second.reset();
  EXPECT_TRUE(WaitUntil([&] {
    const std::lock_guard lock(mutex_);
    return accepted_.size() == 1500;
  }));
  EXPECT_TRUE(WaitUntil([&] { return Lost().empty() && third->queue().Stats().waiting == 0; })) << Lost().size();
  third.reset();
  EXPECT_EQ(Lost(), std::vector<std::string>());
  int repeated = 0;
  for (const auto& [id, count] : ended_) repeated += count - 1;
  RecordProperty("repeated", repeated);
  EXPECT_LT(repeated, 300) << "of 1500";
}

class TurnUnderWay : public KafkaTest {
 protected:
  TurnUnderWay() : KafkaTest(2) {}

  // Two events, one a partition, under way at the first host when the second joins. Ends when both have one partition.
  void Rebalance() {
    deployment_->Write(config_.kafka.topic, 0, "a", "value");
    deployment_->Write(config_.kafka.topic, 1, "b", "value");
    first_ = OpenHost();
    for (QueuedEvent& turn : turns_) ASSERT_TRUE(first_->Next(turn));
    EXPECT_TRUE(turns_[0].permit->Valid(BootTimeMs()));
    second_ = OpenHost();
    ASSERT_TRUE(WaitUntil([&] {
      first_->shard().TakeRevoked(revoked_);
      return revoked_.size() == 2;
    }));
    EXPECT_FALSE(turns_[0].permit->Valid(BootTimeMs()));
    EXPECT_FALSE(turns_[1].permit->Valid(BootTimeMs()));
    ASSERT_TRUE(WaitUntil([&] {
      return first_->queue().Stats().rebalances == 2 && first_->queue().Stats().assigned_partitions == 3 &&
             second_->queue().Stats().assigned_partitions == 3;
    }));
    ASSERT_TRUE(second_->Next(moved_));
    stayed_ = moved_.headers.origin.partition == turns_[0].headers.origin.partition ? 1 : 0;
  }
  int64_t Committed(int32_t partition) {
    return deployment_->Committed(config_.kafka.group_id, config_.kafka.topic, partition).first;
  }

  std::unique_ptr<TestHost> first_, second_;
  std::array<QueuedEvent, 2> turns_;
  std::vector<TurnId> revoked_;
  QueuedEvent moved_;
  size_t stayed_ = 0;
};

TEST_F(TurnUnderWay, IsNotBegunAgainWhereItIsAndItsEndCounts) {
  ASSERT_NO_FATAL_FAILURE(Rebalance());
  const int32_t partition = turns_[stayed_].headers.origin.partition;
  QueuedEvent event;
  EXPECT_FALSE(first_->Next(event, 1000)) << "fetched again, and not begun again";
  EXPECT_EQ(Committed(partition), 0);
  first_->Complete(turns_[stayed_]);
  first_->Complete(turns_[1 - stayed_]);  // the other host has its partition
  EXPECT_TRUE(WaitUntil([&] {
    EXPECT_FALSE(first_->Next(event, 0)) << "begun again";
    return Committed(partition) == 1;
  }));
  EXPECT_EQ(Committed(1 - partition), 0);
  EXPECT_EQ(first_->queue().Stats().completed, 1u);
  second_->Complete(moved_);
  EXPECT_TRUE(WaitUntil([&] { return Committed(1 - partition) == 1; }));
  EXPECT_TRUE(first_->Stop());
  EXPECT_TRUE(second_->Stop());
}

TEST_F(TurnUnderWay, EndedBeforeItIsFetchedAgainIsNotBegunAgain) {
  ASSERT_NO_FATAL_FAILURE(Rebalance());
  first_->Complete(turns_[stayed_]);
  const int32_t partition = turns_[stayed_].headers.origin.partition;
  QueuedEvent event;
  EXPECT_FALSE(first_->Next(event, 1000));
  EXPECT_TRUE(WaitUntil([&] {
    EXPECT_FALSE(first_->Next(event, 0)) << "begun again";
    return Committed(partition) == 1;
  }));
  EXPECT_EQ(first_->queue().Stats().completed, 1u);
  first_->Complete(turns_[1 - stayed_]);
  second_->Complete(moved_);
  EXPECT_TRUE(first_->Stop());
  EXPECT_TRUE(second_->Stop());
}

TEST_F(TurnUnderWay, AbandonedComesAgainWhereThePartitionIs) {
  ASSERT_NO_FATAL_FAILURE(Rebalance());
  QueuedEvent event;
  EXPECT_FALSE(first_->Next(event, 1000));
  first_->shard().Abandon(turns_[0].turn);
  first_->shard().Abandon(turns_[1].turn);
  ASSERT_TRUE(first_->Next(event));
  EXPECT_EQ(event.headers.origin.partition, turns_[stayed_].headers.origin.partition);
  EXPECT_EQ(event.value, "value");
  EXPECT_NE(event.turn, turns_[stayed_].turn);
  EXPECT_TRUE(event.permit->Valid(BootTimeMs()));
  first_->Complete(event);
  second_->Complete(moved_);
  EXPECT_FALSE(first_->Next(event, 300));
  EXPECT_TRUE(first_->Stop());
  EXPECT_TRUE(second_->Stop());
  EXPECT_EQ(Committed(0), 1);
  EXPECT_EQ(Committed(1), 1);
}

class Zombie : public KafkaTest {};

// A process is stopped for longer than its session and wakes up: it does not know yet that its partition has gone.
TEST_F(Zombie, NeverBelievesThatItMaySend) {
  std::array<int, 2> pipe_fds{};
  ASSERT_EQ(pipe(pipe_fds.data()), 0);
  const pid_t child = fork();  // before this process has a thread
  if (child == 0) {
    auto host = OpenHost();
    QueuedEvent event;
    if (!host->Next(event)) _exit(1);
    while (true) {  // h: holds the turn, v: and believes it may send
      const char state = event.permit->Valid(BootTimeMs()) ? 'v' : 'h';
      if (write(pipe_fds[1], &state, 1) != 1) _exit(1);
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }
  close(pipe_fds[1]);
  const auto read_for = [&](int64_t duration_ms) {
    std::string states;
    const int64_t end = BootTimeMs() + duration_ms;
    while (BootTimeMs() < end) {
      pollfd wait{pipe_fds[0], POLLIN, 0};
      if (poll(&wait, 1, 10) <= 0) continue;
      std::array<char, 4096> block{};
      const ssize_t size = read(pipe_fds[0], block.data(), block.size());
      if (size <= 0) break;
      states.append(block.data(), static_cast<size_t>(size));
    }
    return states;
  };
  WriteEvents(1);
  std::string before;
  EXPECT_TRUE(WaitUntil([&] {
    before = read_for(100);
    return before.find('v') != std::string::npos;
  }));
  kill(child, SIGSTOP);
  read_for(100);

  auto host = OpenHost();
  QueuedEvent event;
  EXPECT_TRUE(host->Next(event)) << "when the session is over";
  kill(child, SIGCONT);
  const std::string after = read_for(3000);
  EXPECT_GT(after.size(), 300u);
  EXPECT_EQ(after.find('v'), std::string::npos);
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);
  close(pipe_fds[0]);
  host->Complete(event);
  EXPECT_TRUE(host->Stop());
}

class FencedHost : public KafkaTest {};

// A machine was cloned with its state directory: one of both goes on under another id.
TEST_F(FencedHost, GoesOnUnderAnotherId) {
  WriteEvents(1);
  auto first = OpenHost();
  QueuedEvent turn;
  ASSERT_TRUE(first->Next(turn));
  EXPECT_TRUE(turn.permit->Valid(BootTimeMs()));

  const std::string original = config_.state_dir;
  config_.state_dir += "-clone";
  std::filesystem::create_directory(config_.state_dir);
  std::filesystem::copy_file(original + "/instance-0", config_.state_dir + "/instance-0");
  auto clone = OpenHost();
  QueuedEvent event;
  EXPECT_TRUE(clone->Next(event));
  EXPECT_TRUE(WaitUntil([&] { return !turn.permit->Valid(BootTimeMs()); }));
  std::vector<TurnId> revoked;
  EXPECT_TRUE(WaitUntil([&] {
    first->shard().TakeRevoked(revoked);
    return !revoked.empty();
  }));
  EXPECT_EQ(revoked, std::vector<TurnId>{turn.turn});
  first->shard().Abandon(turn.turn);
  clone->Complete(event);
  EXPECT_TRUE(clone->Stop());
  EXPECT_TRUE(WaitUntil([&] { return first->queue().Health().ok(); })) << first->queue().Health().message();
  EXPECT_NE(alarms().find("do not share a copy of a state_dir"), std::string::npos) << alarms();

  // The clone has ended without leaving: its partition is free when its session is over.
  WriteEvents(1);
  ASSERT_TRUE(first->Next(event));
  EXPECT_EQ(event.value, "value");
  first->Complete(event);
  EXPECT_TRUE(first->Stop());
  std::filesystem::remove_all(config_.state_dir);
  EXPECT_EQ(deployment_->Committed(config_.kafka.group_id, config_.kafka.topic, 0).first, 2);
}

}  // namespace
}  // namespace postbus::kafka
