// Code in documentation is code that is compiled: each block is a copy of a file, and this test compares them.
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <sstream>
#include <string>

namespace {

std::string Read(const std::string& path) {
  std::ifstream file(std::string(POSTBUS_SOURCE_DIR) + "/" + path, std::ios::binary);
  EXPECT_TRUE(file) << path;
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

TEST(DocsTest, ExampleInPluginHpp) {
  std::istringstream header(Read("sdk/include/postbus/plugin.hpp"));
  std::string example;
  for (std::string line; std::getline(header, line) && line.starts_with("//");) {
    const std::string code = line.size() > 5 ? line.substr(5) : "";
    if (example.empty() && !code.starts_with("#include")) continue;
    example += code + "\n";
    if (code.starts_with("POSTBUS_EXPORT")) break;
  }
  EXPECT_EQ(example, Read("tests/sdk/plugins/acme.cc"));
}

// As docs/write-a-transport.md says.
TEST(DocsTest, AProviderHasLessThan100Lines) {
  for (const char* provider : {"plugins/mailtrap", "plugins/sendgrid", "plugins/ses", "sdk/template"}) {
    const std::string text = Read(std::string(provider) + "/transport.cc");
    EXPECT_LT(std::count(text.begin(), text.end(), '\n'), 100) << provider;
  }
}

// In these documents each block stands after a line `<!-- path -->` or `<!-- part of path -->`, or `<!-- run by
// path -->`: a test that takes it from here.
class BlocksTest : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(, BlocksTest, testing::Values("docs/abi.md", "docs/write-a-transport.md"));

TEST_P(BlocksTest, AreCopiesOfFiles) {
  std::istringstream document(Read(GetParam()));
  std::string before;
  int blocks = 0;
  for (std::string line; std::getline(document, line);) {
    if (!line.starts_with("```")) {
      if (!line.empty()) before = line;
      continue;
    }
    std::string block;
    while (std::getline(document, line) && line != "```") block += line + "\n";
    ++blocks;
    ASSERT_TRUE(before.starts_with("<!-- ") && before.ends_with(" -->")) << "this block names no file:\n" << block;
    std::string source = before.substr(5, before.size() - 9);
    if (source.starts_with("run by ")) {
      EXPECT_NE(Read(source.substr(7)), "");
    } else if (source.starts_with("part of ")) {
      EXPECT_NE(Read(source.substr(8)).find(block), std::string::npos) << block << "is not in " << source.substr(8);
    } else {
      EXPECT_EQ(block, Read(source)) << source;
    }
  }
  EXPECT_GT(blocks, 3);
}

}  // namespace
