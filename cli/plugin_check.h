// cli/plugin_check.h - what the ABI asks of a plugin, as named checks. Each runs in a child process with a time limit,
// so that a plugin which crashes or hangs is a finding like any other. Threads: RunPluginChecks forks, so the caller is
// the program's only thread.
#pragma once

#include <chrono>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "event/status.h"

namespace postbus {

// What is checked, and with what it is configured.
struct CheckSubject {
  std::filesystem::path file;                                // absolute
  std::vector<std::pair<std::string, std::string>> options;  // as in YAML; what is missing gets a stand-in
  std::chrono::milliseconds limit;                           // of a check
  std::filesystem::path scratch;                             // an empty directory for what a plugin writes
};

// What a check found: nothing, a fault, or why it could not look.
struct Finding {
  enum class Kind { kOk, kFault, kSkipped };

  Finding() = default;
  // A fault unless empty: what is wrong and what to do.
  Finding(std::string fault) : kind(fault.empty() ? Kind::kOk : Kind::kFault), sentence(std::move(fault)) {}
  static Finding Skipped(std::string why) {
    Finding finding(std::move(why));
    finding.kind = Kind::kSkipped;
    return finding;
  }

  Kind kind = Kind::kOk;
  std::string sentence;
};

struct PluginCheck {
  std::string_view name;
  Finding (*run)(const CheckSubject& subject);
};

// One list a kind of plugin, one file each (file_checks.cc, transport_checks.cc, renderer_checks.cc). Those of the file
// are about every plugin; the second of them loads it, and there is nothing more to check where that one fails.
std::span<const PluginCheck> FileChecks();
std::span<const PluginCheck> TransportChecks();
std::span<const PluginCheck> RendererChecks();

// Runs all checks that fit the plugin's kind, or the one called `only` where that is not empty, and tells each finding.
// An error if there is no check of that name.
Status RunPluginChecks(const CheckSubject& subject, std::string_view only,
                       const std::function<void(std::string_view name, const Finding&)>& tell);

// For the checks: what the plugin is doing ("submit"), named when it crashes or does not come back. A literal.
void SetCheckStage(const char* stage);
// And what with: the name of a mail or a template. One thread.
void SetCheckInput(std::string_view name);

}  // namespace postbus
