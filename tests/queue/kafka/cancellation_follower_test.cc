// Following the topic of cancellations of a real broker. That nothing begins before they are known: mock_cluster_test.
#include "queue/kafka/cancellation_follower.h"

#include "tests/queue/kafka/kafka_test.h"

namespace postbus::kafka {
namespace {

class CancellationFollowerTest : public KafkaTest {
 protected:
  CancellationFollowerTest() : KafkaTest(3) {}

  void SetUp() override {
    KafkaTest::SetUp();
    if (deployment_ != nullptr) deployment_->MakeTopics();
  }

  void WriteCancellation(const std::string& id, std::optional<std::string> value, int64_t written_unix_ms = 0) {
    deployment_->Write(deployment_->topic("-cancellations"), -1, id, std::move(value), {}, written_unix_ms);
  }
  std::unique_ptr<CancellationFollower> Follow() {
    auto follower = std::make_unique<CancellationFollower>(
        config_.kafka, known_, [](LogLevel, std::string_view) {}, [this] { size_when_complete_ = known_.size(); });
    const Status started = follower->Start();
    if (!started.ok()) throw std::runtime_error(std::string(started.message()));
    return follower;
  }

  Cancellations known_;
  std::atomic<size_t> size_when_complete_{SIZE_MAX};
};

TEST_F(CancellationFollowerTest, KnowsAllThatWereThereWhenItIsCompleteAndWhatComesLater) {
  constexpr int kMany = 1'000;
  std::vector<std::pair<std::string, std::string>> many;
  for (int i = 0; i < kMany; ++i) many.emplace_back("id-" + std::to_string(i), "whatever it is");
  deployment_->WriteMany(deployment_->topic("-cancellations"), many);
  const auto follower = Follow();
  ASSERT_TRUE(WaitUntil([&] { return size_when_complete_ != SIZE_MAX; }));
  EXPECT_EQ(size_when_complete_, static_cast<size_t>(kMany));
  EXPECT_TRUE(WaitUntil([&] { return follower->Health().ok(); })) << follower->Health().message();
  for (const auto& [id, value] : many) EXPECT_TRUE(known_.Contains(id)) << id;
  EXPECT_FALSE(known_.Contains("later"));
  WriteCancellation("later", "{}");
  EXPECT_TRUE(WaitUntil([&] { return known_.Contains("later"); }));
}

TEST_F(CancellationFollowerTest, IsCompleteAtOnceWhereThereAreNone) {
  const auto follower = Follow();
  ASSERT_TRUE(WaitUntil([&] { return size_when_complete_ != SIZE_MAX; }));
  EXPECT_EQ(size_when_complete_, 0u);
  EXPECT_EQ(known_.added(), 0u);
}

TEST_F(CancellationFollowerTest, DeletedAndOldOnesAreNone) {
  WriteCancellation("deleted", std::nullopt);
  WriteCancellation("old", "{}", UnixTimeMs() - Cancellations::kKeptMs - 60'000);
  WriteCancellation("young", "{}", UnixTimeMs() - Cancellations::kKeptMs + 3'600'000);
  const auto follower = Follow();
  ASSERT_TRUE(WaitUntil([&] { return size_when_complete_ != SIZE_MAX; }));
  EXPECT_TRUE(known_.Contains("young"));
  EXPECT_FALSE(known_.Contains("deleted"));
  EXPECT_FALSE(known_.Contains("old"));
}

TEST_F(CancellationFollowerTest, WaitsForATopicThatIsNotThereYet) {
  KafkaConfig missing = config_.kafka;
  missing.prefix += "-of-nobody";
  missing.topic += "-of-nobody";
  std::atomic<bool> complete{false};
  CancellationFollower follower(
      missing, known_, [](LogLevel, std::string_view) {}, [&] { complete = true; });
  ASSERT_TRUE(follower.Start().ok());
  EXPECT_FALSE(WaitUntil([&] { return complete.load(); }, 1500));
  ASSERT_FALSE(follower.Health().ok());
  EXPECT_EQ(follower.Health().kind(), ErrorKind::kUnavailable);
  EXPECT_NE(follower.Health().message().find("-cancellations is not read to its end"), std::string_view::npos);
}

}  // namespace
}  // namespace postbus::kafka
