#include "cli/rehearsal.h"

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <future>

#include "event/clock.h"
#include "host/log.h"
#include "host/metrics.h"
#include "host/plugin_set.h"
#include "host/read_file.h"
#include "host/worker.h"
#include "producer/direct/memory_queue.h"

namespace postbus {
namespace {

namespace fs = std::filesystem;

constexpr auto kWithin = std::chrono::seconds(30);

// Ours while it lives, then gone.
class TemporaryDirectory {
 public:
  TemporaryDirectory() {
    std::error_code error;
    std::string pattern = (fs::temp_directory_path(error) / "postbus-XXXXXX").string();
    if (::mkdtemp(pattern.data()) != nullptr) path_ = pattern;
  }
  ~TemporaryDirectory() {
    std::error_code ignored;
    if (!path_.empty()) fs::remove_all(path_, ignored);
  }
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;

  const fs::path& path() const { return path_; }  // empty: it could not be made

 private:
  fs::path path_;
};

ConfiguredOption Option(const char* name, std::string text) {
  ConfiguredOption option;
  option.name = name;
  option.text = std::move(text);
  return option;
}

// One attempt, no wait, and into the directory.
Config WithoutTransports(const Config& config, const fs::path& directory) {
  Config changed = config;
  for (TransportConfig& transport : changed.transports) {
    transport.plugin = "file";
    transport.options = {Option("directory", directory.string()), Option("sync", "false")};
  }
  changed.host.threads = 1;
  changed.retry.max_retries = 0;
  changed.retry.max_retries_limit = 0;
  changed.log.level = "error";
  return changed;
}

}  // namespace

Result<Rehearsed> Rehearse(const Config& given, const NewEvent& event) {
  const TemporaryDirectory directory;
  if (directory.path().empty()) {
    return Status::Unavailable(std::string("cannot make a temporary directory: ") + std::strerror(errno));
  }
  const Config config = WithoutTransports(given, directory.path());
  Log log(config.log);
  Metrics metrics;
  MemoryQueue queue(/*scheduled_too=*/true);
  auto renderer = LoadRenderer(config, log.Named("renderer"));
  if (!renderer.ok()) return renderer.TakeStatus();
  std::promise<Status> told;  // before the worker, which tells it
  auto worker = Worker::Start(config, std::move(*renderer), queue, metrics, log);
  if (!worker.ok()) return worker.TakeStatus();

  auto outcome = told.get_future();
  Rehearsed rehearsed;
  rehearsed.refusal = queue.Publish(event, [&told](const Status& status) {
    told.set_value(status.ok() ? Status() : Status(status.kind(), std::string(status.message())));
  });
  const bool taken = rehearsed.refusal.ok();
  if (taken) outcome.wait_for(kWithin);
  (*worker)->Drain(BootTimeMs() + 1'000);  // what is not told by now is told as not sent
  if (taken) rehearsed.refusal = outcome.get();

  std::vector<fs::path> files;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(directory.path(), error)) {
    if (entry.path().extension() == ".eml") files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  for (const fs::path& file : files) rehearsed.mails.push_back(ReadFile(file.string()).value_or(""));
  return rehearsed;
}

}  // namespace postbus
