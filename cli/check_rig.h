// cli/check_rig.h - a plugin under check: loaded, its options typed, an instance and what may be said to it. Lives in
// the child process of one check and ends with it. One thread, but for Submit.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "cli/check_host.h"
#include "cli/check_server.h"
#include "cli/plugin_check.h"
#include "host/plugin_calls.h"
#include "host/plugin_library.h"
#include "host/plugin_options.h"
#include "postbus/testing/mail_samples.hpp"

namespace postbus {

// Functions that return a text: "" or what is wrong.
class CheckRig {
 public:
  explicit CheckRig(const CheckSubject& subject);

  // Loads the file and types the options. In place of the provider stands our server where the plugin has an option
  // `base_url`, or `host` and `port`, and none of these is given; required options get something of their type, paths
  // an empty directory.
  std::string Open();
  // Open, unless it was, and create. REQUIRES: no instance of `instance` is alive.
  std::string Create(postbus_instance*& instance);
  std::string Create() { return Create(instance_); }
  std::string Destroy(postbus_instance* instance);
  std::string Destroy() { return Destroy(instance_); }

  // Offers the mails in one call and tells the host which were not taken; how many were is in `taken`. Their deadlines
  // count from now. Thread-safe.
  std::string Submit(std::vector<sdk::testing::FakeMail> mails, uint32_t& taken);
  // Offers them again and again until each is taken.
  std::string SubmitAll(std::vector<sdk::testing::FakeMail> mails);
  std::string WaitUntilCompleted();
  std::string Cancel(std::vector<uint64_t> tokens);
  std::string Quiesce(std::chrono::milliseconds deadline);
  std::string Probe(std::chrono::milliseconds deadline);
  std::string WaitUntilNoneOutstanding(std::chrono::milliseconds limit);

  const PluginLibrary& library() const { return **library_; }
  postbus_instance* instance() const { return instance_; }
  CheckHost& host() { return host_; }
  CheckServer& server() { return server_; }
  // What waiting for something of the plugin's may take.
  std::chrono::milliseconds patience() const { return subject_.limit * 2 / 3; }

  // Calls into the plugin, which is said to be in `function`; "" or what was thrown.
  template <typename Call>
  static std::string Guard(const char* function, Call&& call) {
    SetCheckStage(function);
    const std::string thrown = CatchThrown(std::forward<Call>(call));
    SetCheckStage(nullptr);
    return thrown.empty() ? "" : thrown + ", from " + function + "; catch it there";
  }

 private:
  std::optional<ConfiguredOption> StandIn(const postbus_option& option, bool ours);

  const CheckSubject& subject_;
  CheckHost& host_;  // for ever
  CheckServer& server_;
  std::optional<std::shared_ptr<const PluginLibrary>> library_;
  std::optional<PluginOptions> options_;
  postbus_instance* instance_ = nullptr;
};

// Directories of /proc: as many as this process has threads and open files.
size_t CountThreads();
size_t CountFiles();
// Waits until `count()` is at most `most`, since what a thread or a peer leaves may take a moment to go.
bool ComesDownTo(size_t (*count)(), size_t most, std::chrono::milliseconds limit);

}  // namespace postbus
