#include "host/read_file.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

namespace postbus {
namespace {

TEST(ReadFileTest, WholeFilesOnly) {
  const auto directory = std::filesystem::path(testing::TempDir()) / "read_file_test";
  std::filesystem::create_directories(directory);
  const std::string bytes("a\0\r\nb", 5);
  std::ofstream(directory / "bytes", std::ios::binary) << bytes;
  std::ofstream(directory / "empty", std::ios::binary).flush();
  EXPECT_EQ(ReadFile(directory / "bytes"), bytes);
  EXPECT_EQ(ReadFile(directory / "empty"), "");
  EXPECT_EQ(ReadFile(directory / "absent"), std::nullopt);
  EXPECT_EQ(ReadFile(directory), std::nullopt);
  std::filesystem::remove_all(directory);
}

}  // namespace
}  // namespace postbus
