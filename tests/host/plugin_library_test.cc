#include "host/plugin_library.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <vector>

namespace postbus {
namespace {

namespace fs = std::filesystem;

const fs::path kTestPlugins = fs::path(POSTBUS_BUILD_DIR) / "tests/plugins";

// Bad plugins are met in tests/abi/bad_plugins_test.cc.

TEST(PluginLibraryTest, DescribesTransport) {
  const auto library = PluginLibrary::Load(kTestPlugins / "minimal.so");
  ASSERT_TRUE(library.ok()) << library.status().message();
  const PluginLibrary& plugin = **library;
  EXPECT_EQ(plugin.path(), kTestPlugins / "minimal.so");
  EXPECT_EQ(plugin.id(), "acme");
  EXPECT_EQ(plugin.version(), "1.0.0");
  EXPECT_EQ(plugin.summary(), "Accepts every mail and forgets it.");
  ASSERT_EQ(plugin.options().size(), 1u);
  EXPECT_EQ(std::string_view(plugin.options()[0]->name.data, plugin.options()[0]->name.size), "greeting");
  EXPECT_NE(plugin.transport(), nullptr);
  EXPECT_EQ(plugin.renderer(), nullptr);
}

TEST(PluginLibraryTest, DescribesRenderer) {
  const auto library = PluginLibrary::Load(kTestPlugins / "echo.so");
  ASSERT_TRUE(library.ok()) << library.status().message();
  EXPECT_EQ((*library)->id(), "echo");
  EXPECT_EQ((*library)->transport(), nullptr);
  EXPECT_NE((*library)->renderer(), nullptr);
}

TEST(PluginLibraryTest, ShippedPluginAndExampleLoad) {
  for (const fs::path& path : {fs::path(POSTBUS_BUILD_DIR) / "plugins/file.so", kTestPlugins / "acme.so"}) {
    const auto library = PluginLibrary::Load(path);
    ASSERT_TRUE(library.ok()) << library.status().message();
    EXPECT_NE((*library)->transport(), nullptr);
  }
}

// What a plugin left behind in the process may run after its last instance is gone.
TEST(PluginLibraryTest, CodeStaysMapped) {
  const auto is_mapped = [] {
    std::ifstream maps("/proc/self/maps");
    for (std::string line; std::getline(maps, line);) {
      if (line.ends_with("tests/plugins/acme.so")) return true;
    }
    return false;
  };
  { ASSERT_TRUE(PluginLibrary::Load(kTestPlugins / "acme.so").ok()); }
  EXPECT_TRUE(is_mapped());
}

class FindPluginTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = testing::TempDir() + "/find_plugin_XXXXXX";
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    root_ = fs::path(pattern).lexically_normal();
    for (const char* file : {"first/smtp.so", "second/smtp.so", "second/mailtrap.so", "second/notes.txt"}) {
      fs::create_directories((root_ / file).parent_path());
      std::ofstream(root_ / file) << "x";
    }
    directories_ = {root_ / "missing", root_ / "first", root_ / "second"};
  }
  void TearDown() override { fs::remove_all(root_); }

  std::string Find(std::string_view name) {
    const auto found = FindPlugin(name, directories_);
    if (!found.ok()) return std::string(found.status().message());
    return found->lexically_relative(root_).string();
  }

  fs::path root_;
  std::vector<fs::path> directories_;
};

TEST_F(FindPluginTest, FirstDirectoryThatHasIt) {
  EXPECT_EQ(Find("smtp"), "first/smtp.so");
  EXPECT_EQ(Find("mailtrap"), "second/mailtrap.so");
}

TEST_F(FindPluginTest, AbsolutePathIsItself) {
  EXPECT_EQ(Find((root_ / "second/../second/smtp.so").string()), "second/smtp.so");
  EXPECT_EQ(Find((root_ / "second/ses.so").string()), "there is no plugin file " + (root_ / "second/ses.so").string());
  EXPECT_EQ(Find((root_ / "second").string()), "there is no plugin file " + (root_ / "second").string());
}

TEST_F(FindPluginTest, MissingNamesPlacesAndTheNearest) {
  const std::string root = root_.string();
  EXPECT_EQ(Find("mailtrp"), "there is no plugin \"mailtrp\"; looked for " + root + "/missing/mailtrp.so, " + root +
                                 "/first/mailtrp.so, " + root + "/second/mailtrp.so; did you mean \"mailtrap\"?");
  EXPECT_EQ(Find("notes"), "there is no plugin \"notes\"; looked for " + root + "/missing/notes.so, " + root +
                               "/first/notes.so, " + root + "/second/notes.so");
  directories_.clear();
  EXPECT_EQ(Find("smtp"), "there is no plugin \"smtp\"; looked for nothing");
}

TEST_F(FindPluginTest, RelativePathsAreRefused) {
  EXPECT_EQ(Find("first/smtp"), "\"first/smtp\" is neither the name of a plugin nor an absolute path");
  EXPECT_EQ(Find("../smtp.so"), "\"../smtp.so\" is neither the name of a plugin nor an absolute path");
  EXPECT_EQ(Find(""), "\"\" is neither the name of a plugin nor an absolute path");
}

}  // namespace
}  // namespace postbus
