// cli/config_watch.h - tells when the configuration file has other content: written in place, replaced by a rename, or
// behind a symbolic link that was swapped (a Kubernetes ConfigMap's `..data`). Control thread only.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <utility>

#include "event/status.h"
#include "queue/file_descriptor.h"

namespace postbus {

class ConfigWatch {
 public:
  // From now on. Make it before the file is loaded, so that no change falls in between.
  static Result<ConfigWatch> Start(const std::string& file);

  // Readable when something happened beside the file; call Changed then, and again after the wait it leaves.
  int fd() const { return inotify_.get(); }
  // In how many milliseconds to call Changed though nothing is readable; -1: not at all.
  int TimeoutMs() const;
  // The file has other content than when this was last true. What comes within a fifth of a second is one change.
  bool Changed();

 private:
  ConfigWatch(std::filesystem::path file, int inotify) : file_(std::move(file)), inotify_(inotify) {}
  bool WatchDirectories();

  std::filesystem::path file_;
  FileDescriptor inotify_;
  std::optional<std::string> content_;  // as last seen
  int64_t look_at_boot_ms_ = 0;         // 0: nothing happened
};

}  // namespace postbus
