#include "host/plugin_file.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>

#include "host/plugin_library.h"

namespace postbus {
namespace {

namespace fs = std::filesystem;

class PluginFileTest : public testing::Test {
 protected:
  PluginFileTest() {
    std::string pattern = testing::TempDir() + "plugin-file-XXXXXX";
    if (mkdtemp(pattern.data()) != nullptr) root_ = pattern;
    fs::create_directory(root_ / "plugins");
    Chmod(root_ / "plugins", 0755);
    file_ = root_ / "plugins" / "acme.so";
    copies_ = root_ / "state" / "plugins";
    Write(file_, "abc");
  }
  ~PluginFileTest() override { fs::remove_all(root_); }

  static void Chmod(const fs::path& path, mode_t mode) { ASSERT_EQ(chmod(path.c_str(), mode), 0); }
  static void Write(const fs::path& path, const std::string& content) {
    std::ofstream(path, std::ios::trunc) << content;
    Chmod(path, 0644);
  }
  static std::string Read(const fs::path& path) {
    std::ifstream in(path);
    return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
  }
  static mode_t ModeOf(const fs::path& path) {
    struct stat info {};
    return stat(path.c_str(), &info) == 0 ? info.st_mode & 07777 : 0;
  }
  static ino_t InodeOf(const fs::path& path) {
    struct stat info {};
    return stat(path.c_str(), &info) == 0 ? info.st_ino : 0;
  }

  std::string Refusal(const fs::path& path) {
    const auto file = ReadPluginFile(path);
    return file.ok() ? "" : std::string(file.status().message());
  }
  PluginCopy Copy() {
    auto file = ReadPluginFile(file_);
    EXPECT_TRUE(file.ok()) << file.status().message();
    auto copy = CopyPluginFile(*file, copies_);
    EXPECT_TRUE(copy.ok()) << copy.status().message();
    return std::move(*copy);
  }

  fs::path root_;
  fs::path file_;
  fs::path copies_;
};

constexpr const char* kSha256OfAbc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

TEST_F(PluginFileTest, HasItsContentAndItsDigest) {
  const auto file = ReadPluginFile(file_);
  ASSERT_TRUE(file.ok()) << file.status().message();
  EXPECT_EQ(file->content, "abc");
  EXPECT_EQ(file->sha256, kSha256OfAbc);
}

TEST_F(PluginFileTest, WhatOthersMayWriteIsRefusedWithTheCommandThatMendsIt) {
  Chmod(file_, 0664);
  EXPECT_NE(Refusal(file_).find("`chmod go-w " + file_.string() + "`"), std::string::npos) << Refusal(file_);
  Chmod(file_, 0646);
  EXPECT_NE(Refusal(file_), "");
  Chmod(file_, 0644);
  EXPECT_EQ(Refusal(file_), "");
  const fs::path directory = file_.parent_path();
  Chmod(directory, 0775);
  EXPECT_NE(Refusal(file_).find("`chmod go-w " + directory.string() + "`"), std::string::npos) << Refusal(file_);
  // Where a link leads counts, and where it lies.
  fs::create_directory(root_ / "links");
  Chmod(root_ / "links", 0755);
  fs::create_symlink(file_, root_ / "links" / "acme.so");
  EXPECT_NE(Refusal(root_ / "links" / "acme.so").find(directory.string()), std::string::npos);
  Chmod(directory, 0755);
  EXPECT_EQ(Refusal(root_ / "links" / "acme.so"), "");
  Chmod(root_ / "links", 0757);
  EXPECT_NE(Refusal(root_ / "links" / "acme.so"), "");
}

TEST_F(PluginFileTest, WhatBelongsToSomebodyElseIsRefused) {
  if (geteuid() != 0) GTEST_SKIP() << "only root can give files away";
  ASSERT_EQ(chown(file_.c_str(), 12345, 0), 0);
  EXPECT_NE(Refusal(file_).find("belongs to user 12345"), std::string::npos) << Refusal(file_);
  EXPECT_NE(Refusal(file_).find("`chown root " + file_.string() + "`"), std::string::npos);
  ASSERT_EQ(chown(file_.c_str(), 0, 0), 0);
  ASSERT_EQ(chown(file_.parent_path().c_str(), 12345, 0), 0);
  EXPECT_NE(Refusal(file_), "");
}

TEST_F(PluginFileTest, WhatIsNoFileIsRefused) {
  EXPECT_NE(Refusal(file_.parent_path()).find("not a regular file"), std::string::npos);
  EXPECT_NE(Refusal(root_ / "nothing.so").find("No such file"), std::string::npos);
}

TEST_F(PluginFileTest, ACopyIsNamedByItsContentAndOurs) {
  const PluginCopy copy = Copy();
  EXPECT_EQ(copy.path, copies_ / (std::string(kSha256OfAbc) + ".so"));
  EXPECT_EQ(Read(copy.path), "abc");
  EXPECT_EQ(ModeOf(copies_), 0700u);
  EXPECT_EQ(ModeOf(copy.path), 0400u);
  const ino_t inode = InodeOf(copy.path);
  EXPECT_EQ(InodeOf(Copy().path), inode) << "it is not written twice";
}

TEST_F(PluginFileTest, ACopyWithOtherContentIsReplaced) {
  const fs::path path = Copy().path;
  Chmod(path, 0600);
  std::ofstream(path, std::ios::trunc) << "abd";
  EXPECT_EQ(Read(Copy().path), "abc");
}

TEST_F(PluginFileTest, ADirectoryOfCopiesThatOthersMayWriteToIsRefused) {
  fs::create_directories(copies_);
  Chmod(copies_, 0777);
  const auto file = ReadPluginFile(file_);
  ASSERT_TRUE(file.ok());
  const auto copy = CopyPluginFile(*file, copies_);
  ASSERT_FALSE(copy.ok());
  EXPECT_NE(copy.status().message().find("chmod go-w"), std::string_view::npos);
}

TEST_F(PluginFileTest, CopiesNobodyHoldsAreRemoved) {
  const PluginCopy held = Copy();
  Write(file_, "other");
  const fs::path unused = Copy().path;
  Write(copies_ / "new-abcdef", "is being written");
  RemoveUnusedPluginCopies(copies_);
  EXPECT_TRUE(fs::exists(held.path));
  EXPECT_FALSE(fs::exists(unused));
  EXPECT_TRUE(fs::exists(copies_ / "new-abcdef"));
  fs::last_write_time(copies_ / "new-abcdef", fs::file_time_type::clock::now() - std::chrono::hours(1));
  RemoveUnusedPluginCopies(copies_);
  EXPECT_FALSE(fs::exists(copies_ / "new-abcdef"));
}

TEST_F(PluginFileTest, AFileReplacedAtItsPathIsTheNewPlugin) {
  const fs::path plugins = POSTBUS_BUILD_DIR "/tests/plugins";
  const auto load = [&](const char* name) -> std::shared_ptr<const PluginLibrary> {
    fs::copy_file(plugins / name, file_, fs::copy_options::overwrite_existing);  // into the same inode
    Chmod(file_, 0644);
    auto library = PluginLibrary::LoadCopy(file_, Copy());
    EXPECT_TRUE(library.ok()) << library.status().message();
    return library.ok() ? *library : nullptr;
  };
  const auto before = load("minimal.so");
  const auto after = load("echo.so");
  ASSERT_TRUE(before != nullptr && after != nullptr);
  EXPECT_EQ(before->id(), "acme");
  EXPECT_EQ(after->id(), "echo");
  EXPECT_EQ(after->path(), file_) << "it is called by its own name";
  RemoveUnusedPluginCopies(copies_);
  EXPECT_TRUE(fs::exists(before->file())) << "held by the library";
  EXPECT_EQ(load("minimal.so")->file(), before->file());
}

}  // namespace
}  // namespace postbus
