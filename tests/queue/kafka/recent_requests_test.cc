#include "queue/kafka/recent_requests.h"

#include <gtest/gtest.h>

namespace postbus::kafka {
namespace {

using Fate = RecentRequests::Fate;

class RecentRequestsTest : public testing::Test {
 protected:
  Fate Begin(const std::string& id, const std::string& digest = "d", int64_t now = 0) {
    RecentRequests::Done done = [this](const Status& status) { answers_.push_back(status.ok()); };
    return requests_.Begin(id, digest, now, done);
  }

  RecentRequests requests_;
  std::vector<bool> answers_;
};

TEST_F(RecentRequestsTest, RepeatedRequestsWaitForTheFirst) {
  EXPECT_EQ(Begin("a"), Fate::kNew);
  EXPECT_EQ(Begin("a"), Fate::kWaits);
  EXPECT_EQ(Begin("a"), Fate::kWaits);
  EXPECT_EQ(Begin("a", "other"), Fate::kConflict);
  EXPECT_EQ(Begin("b"), Fate::kNew);
  requests_.End("a", {});
  EXPECT_EQ(answers_, (std::vector<bool>{true, true}));
  EXPECT_EQ(Begin("a"), Fate::kAccepted);
  EXPECT_EQ(Begin("a", "other"), Fate::kConflict);
}

TEST_F(RecentRequestsTest, AFailedOneMayBeMadeAgain) {
  EXPECT_EQ(Begin("a"), Fate::kNew);
  EXPECT_EQ(Begin("a"), Fate::kWaits);
  requests_.End("a", Status::Uncertain("no answer"));
  EXPECT_EQ(answers_, std::vector<bool>{false});
  EXPECT_EQ(Begin("a", "other"), Fate::kNew);
}

TEST_F(RecentRequestsTest, AreForgottenAfterADay) {
  EXPECT_EQ(Begin("a", "d", 1000), Fate::kNew);
  requests_.End("a", {});
  EXPECT_EQ(Begin("a", "d", 86'401'000), Fate::kAccepted);
  EXPECT_EQ(Begin("a", "d", 86'401'001), Fate::kNew);
}

TEST_F(RecentRequestsTest, TheOldestGiveWay) {
  EXPECT_EQ(Begin("under way"), Fate::kNew);
  for (int i = 0; i < 100'000; ++i) {
    ASSERT_EQ(Begin(std::to_string(i)), Fate::kNew);
    requests_.End(std::to_string(i), {});
  }
  EXPECT_EQ(Begin("under way"), Fate::kWaits) << "somebody waits for it";
  requests_.End("under way", {});
  EXPECT_EQ(Begin("1"), Fate::kAccepted) << "0 and the one before it made room";
  EXPECT_EQ(Begin("new"), Fate::kNew);
  requests_.End("new", {});
  EXPECT_EQ(Begin("99999"), Fate::kAccepted);
  EXPECT_EQ(Begin("under way", "d"), Fate::kNew);
}

}  // namespace
}  // namespace postbus::kafka
