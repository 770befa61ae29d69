#include "cli/config_watch.h"

#include <sys/inotify.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "event/clock.h"
#include "host/read_file.h"

namespace postbus {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kSettleMs = 200;
constexpr uint32_t kEvents = IN_CLOSE_WRITE | IN_MOVED_TO | IN_CREATE | IN_DELETE;

}  // namespace

Result<ConfigWatch> ConfigWatch::Start(const std::string& file) {
  ConfigWatch watch(fs::absolute(file), inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
  if (watch.fd() < 0 || !watch.WatchDirectories()) {
    return Status::Unavailable(file + ": cannot be watched: " + std::strerror(errno) +
                               "; leave out --watch, or see fs.inotify in `man 7 inotify`");
  }
  watch.content_ = ReadFile(file);
  return watch;
}

// Not the file: who replaces it makes another one. Where it lies and where a link leads; watched twice is watched once.
bool ConfigWatch::WatchDirectories() {
  std::error_code error;
  const fs::path real = fs::canonical(file_, error);
  if (!error) inotify_add_watch(fd(), real.parent_path().c_str(), kEvents);
  return inotify_add_watch(fd(), file_.parent_path().c_str(), kEvents) >= 0;
}

int ConfigWatch::TimeoutMs() const {
  if (look_at_boot_ms_ == 0) return -1;
  return static_cast<int>(std::max<int64_t>(0, look_at_boot_ms_ - BootTimeMs()));
}

bool ConfigWatch::Changed() {
  alignas(inotify_event) char events[4096];
  while (read(fd(), events, sizeof events) > 0) {
    if (look_at_boot_ms_ == 0) look_at_boot_ms_ = BootTimeMs() + kSettleMs;
  }
  if (look_at_boot_ms_ == 0 || BootTimeMs() < look_at_boot_ms_) return false;
  look_at_boot_ms_ = 0;
  WatchDirectories();  // a link may lead elsewhere now
  auto content = ReadFile(file_.string());
  // Between a removal and what takes its place there is no file: that is not what somebody wants to run by.
  if (!content || content == content_) return false;
  content_ = std::move(content);
  return true;
}

}  // namespace postbus
