#include "host/pauses.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "host/read_file.h"

namespace postbus {
namespace {

class PausesTest : public testing::Test {
 protected:
  ~PausesTest() override { std::filesystem::remove_all(directory_); }

  const std::string directory_ = testing::TempDir() + "pauses." + std::to_string(getpid());
  const std::string file_ = directory_ + "/state/paused";
};

TEST_F(PausesTest, HoldsUntilItsEndOrUntilResumed) {
  Pauses pauses;
  const Pause& primary = pauses.Of("primary");
  EXPECT_FALSE(primary.Holds(0));
  ASSERT_TRUE(pauses.Set("primary", 1'000).ok());
  EXPECT_TRUE(primary.Holds(999));
  EXPECT_FALSE(primary.Holds(1'000));
  ASSERT_TRUE(pauses.Set("primary", Pauses::kNoEnd).ok());
  EXPECT_TRUE(primary.Holds(1LL << 60));
  ASSERT_TRUE(pauses.Set("primary", 0).ok());
  EXPECT_FALSE(primary.Holds(1));
}

TEST_F(PausesTest, ARestartKeepsThem) {
  {
    auto pauses = Pauses::Open(file_);
    ASSERT_TRUE(pauses.ok());
    for (const char* name : {"a", "b c", "d"}) (*pauses)->Of(name);
    ASSERT_TRUE((*pauses)->Set("a", Pauses::kNoEnd).ok());
    ASSERT_TRUE((*pauses)->Set("b c", 5'000).ok());
    ASSERT_TRUE((*pauses)->Set("d", 5'000).ok());
    ASSERT_TRUE((*pauses)->Set("d", 0).ok());
  }
  auto pauses = Pauses::Open(file_);
  ASSERT_TRUE(pauses.ok()) << pauses.status().message();
  EXPECT_EQ((*pauses)->Of("a").until_unix_ms(), Pauses::kNoEnd);
  EXPECT_EQ((*pauses)->Of("b c").until_unix_ms(), 5'000);
  EXPECT_EQ((*pauses)->Of("d").until_unix_ms(), 0);
}

TEST_F(PausesTest, AnUnknownNameIsRefusedWithThoseThatAre) {
  std::filesystem::create_directories(directory_ + "/state");
  std::ofstream(file_) << "5000 former\n";
  auto pauses = Pauses::Open(file_);
  ASSERT_TRUE(pauses.ok());
  (*pauses)->Of("primary");
  (*pauses)->Of("backup");
  for (const char* name : {"primry", "former"}) {
    const Status status = (*pauses)->Set(name, 1);
    EXPECT_EQ(status.kind(), ErrorKind::kNotFound);
    EXPECT_EQ(status.message(), "there is no transport of that name; this host has backup, primary");
  }
}

TEST_F(PausesTest, ADamagedFileIsAnErrorThatNamesIt) {
  std::filesystem::create_directories(directory_ + "/state");
  for (const char* content :
       {"primary\n", "12\n", "12 primary", "x primary\n", "version 1.0\nx primary\n", "version 1.0"}) {
    std::ofstream(file_) << content;
    const auto pauses = Pauses::Open(file_);
    ASSERT_FALSE(pauses.ok()) << content;
    EXPECT_TRUE(pauses.status().message().starts_with(file_ + " is damaged"));
  }
}

TEST_F(PausesTest, AFileOfTheNextMinorIsReadAndKeepsWhatIsNew) {
  std::filesystem::create_directories(directory_ + "/state");
  std::ofstream(file_) << "version 1.1\nreason primary maintenance\n5000 primary\n";
  auto pauses = Pauses::Open(file_);
  ASSERT_TRUE(pauses.ok()) << pauses.status().message();
  EXPECT_TRUE((*pauses)->Of("primary").Holds(4'999));
  (*pauses)->Of("backup");
  ASSERT_TRUE((*pauses)->Set("backup", 6'000).ok());
  EXPECT_EQ(ReadFile(file_), "version 1.1\nreason primary maintenance\n6000 backup\n5000 primary\n");
}

TEST_F(PausesTest, AFileOfAnotherMajorIsRefused) {
  std::filesystem::create_directories(directory_ + "/state");
  std::ofstream(file_) << "version 2.0\nprimary: 5000\n";
  const auto pauses = Pauses::Open(file_);
  ASSERT_FALSE(pauses.ok());
  EXPECT_EQ(pauses.status().kind(), ErrorKind::kInvalid);
  EXPECT_NE(pauses.status().message().find("has version 2, this postbus knows 1"), std::string_view::npos);
  EXPECT_EQ(ReadFile(file_), "version 2.0\nprimary: 5000\n");
}

TEST_F(PausesTest, AFileOfBeforeThereWereVersionsIsRead) {
  std::filesystem::create_directories(directory_ + "/state");
  std::ofstream(file_) << "5000 primary\n";
  auto pauses = Pauses::Open(file_);
  ASSERT_TRUE(pauses.ok()) << pauses.status().message();
  EXPECT_TRUE((*pauses)->Of("primary").Holds(4'999));
  ASSERT_TRUE((*pauses)->Set("primary", 6'000).ok());
  EXPECT_EQ(ReadFile(file_), "version 1.0\n6000 primary\n");
}

TEST_F(PausesTest, WhatCannotBeWrittenHoldsAndSaysSo) {
  std::ofstream(directory_) << "a file where a directory should be";
  auto pauses = Pauses::Open(file_);
  ASSERT_TRUE(pauses.ok());
  const Pause& pause = (*pauses)->Of("primary");
  const Status status = (*pauses)->Set("primary", Pauses::kNoEnd);
  EXPECT_EQ(status.kind(), ErrorKind::kUnavailable);
  EXPECT_NE(status.message().find("not after a restart: " + file_), std::string_view::npos);
  EXPECT_TRUE(pause.Holds(0));
}

}  // namespace
}  // namespace postbus
