#include "queue/kafka/instance_id.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>

namespace postbus::kafka {
namespace {

class InstanceIdTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string directory = std::filesystem::temp_directory_path() / "postbus-instance-XXXXXX";
    ASSERT_NE(mkdtemp(directory.data()), nullptr);
    directory_ = directory;
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  std::string directory_;
};

TEST_F(InstanceIdTest, IsTheSameAfterARestart) {
  std::string first;
  {
    const auto instance = InstanceId::Acquire(directory_ + "/state");
    ASSERT_TRUE(instance.ok()) << instance.status().message();
    first = instance->id();
  }
  const auto again = InstanceId::Acquire(directory_ + "/state");
  ASSERT_TRUE(again.ok());
  EXPECT_EQ(again->id(), first);
  EXPECT_FALSE(first.empty());
}

TEST_F(InstanceIdTest, HostsOfOneDirectoryHaveASlotEach) {
  auto first = std::make_unique<Result<InstanceId>>(InstanceId::Acquire(directory_));
  const auto second = InstanceId::Acquire(directory_);
  ASSERT_TRUE(first->ok() && second.ok());
  EXPECT_NE((*first)->id(), second->id());
  EXPECT_TRUE(std::filesystem::exists(directory_ + "/instance-1"));
  const std::string id = (*first)->id();
  first.reset();
  const auto third = InstanceId::Acquire(directory_);
  ASSERT_TRUE(third.ok());
  EXPECT_EQ(third->id(), id) << "the freed slot is taken first";
}

TEST_F(InstanceIdTest, AFileCutShortByACrashCountsAsEmpty) {
  std::ofstream(directory_ + "/instance-0") << "web1-0badc";
  const auto instance = InstanceId::Acquire(directory_);
  ASSERT_TRUE(instance.ok());
  EXPECT_NE(instance->id(), "web1-0badc");
  EXPECT_TRUE(instance->id().ends_with("-0"));
}

TEST_F(InstanceIdTest, SaysWhichFileItCannotWrite) {
  std::ofstream(directory_ + "/file") << "";
  const auto instance = InstanceId::Acquire(directory_ + "/file/state");
  ASSERT_FALSE(instance.ok());
  EXPECT_EQ(instance.status().kind(), ErrorKind::kUnavailable);
  EXPECT_NE(instance.status().message().find("/file/state/instance-0"), std::string_view::npos);
}

}  // namespace
}  // namespace postbus::kafka
