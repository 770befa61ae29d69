// tests/support/plugins/output_directory_test.h - the fixture of the transports that write into a directory.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <span>
#include <sstream>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "postbus/testing/fake_host.hpp"

namespace postbus::testing {

namespace fs = std::filesystem;
using sdk::Outcome;
using sdk::testing::FakeHost;
using sdk::testing::FakeMail;
using sdk::testing::FakeOptions;

template <typename Transport>
class OutputDirectoryTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = ::testing::TempDir() + "/output_directory_XXXXXX";
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    root_ = pattern;
    directory_ = root_ / "a/b";
  }
  void TearDown() override {
    transport_.reset();
    fs::permissions(root_, fs::perms::owner_all);
    fs::remove_all(root_);
  }

  // The option `directory` is directory_.
  void Make(sdk::Host host, std::span<const sdk::Option> table,
            std::vector<std::pair<std::string, FakeOptions::Value>> given) {
    given.emplace_back("directory", directory_.string());
    const FakeOptions options(table, std::move(given));
    transport_ = std::make_unique<Transport>(host, options.options());
  }

  Outcome Send(FakeMail& mail) {
    const postbus_mail* const offered[] = {&mail.view()};
    EXPECT_EQ(transport_->Submit(offered), 1u);
    EXPECT_TRUE(host_.WaitForCompletions(++sent_));
    WaitUntilIdle();
    return host_.completions().back().outcome;
  }
  // As fast as the transport takes them, numbered from 1. They are needed until the last is complete: so they are kept.
  void SendMany(size_t count) {
    while (sent_ < count) {
      if (mails_.size() == sent_) mails_.push_back(std::make_unique<FakeMail>(sent_ + 1));
      const postbus_mail* const offered[] = {&mails_[sent_]->view()};
      sent_ += transport_->Submit(offered);
    }
    EXPECT_TRUE(host_.WaitForCompletions(count));
    WaitUntilIdle();
  }

  static std::string Read(const fs::path& path) {
    std::ifstream file(path, std::ios::binary);
    std::ostringstream text;
    text << file.rdbuf();
    return text.str();
  }

  fs::path root_;
  fs::path directory_;
  FakeHost host_;
  size_t sent_ = 0;
  std::vector<std::unique_ptr<FakeMail>> mails_;
  std::unique_ptr<Transport> transport_;

 private:
  void WaitUntilIdle() const {
    while (transport_->Outstanding() != 0) std::this_thread::yield();
  }
};

}  // namespace postbus::testing
