#include "queue/sqlite/host_lock.h"

#include <fcntl.h>
#include <sys/file.h>

#include <array>
#include <cerrno>
#include <cstring>

namespace postbus::sqlite {
namespace {

// What the holder wrote: its pid in digits; "unknown" if it has not come to that yet.
std::string ReadHolder(int fd) {
  std::array<char, 24> text{};
  const ssize_t size = pread(fd, text.data(), text.size(), 0);
  std::string pid(text.data(), size > 0 ? static_cast<size_t>(size) : 0);
  pid = pid.substr(0, pid.find_first_not_of("0123456789"));
  return pid.empty() ? "unknown" : pid;
}

}  // namespace

Result<HostLock> HostLock::Take(const std::string& queue_path) {
  const std::string path = queue_path + ".host-lock";
  FileDescriptor file(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (file.get() < 0) return Status::Unavailable("lock file " + path + " cannot be opened: " + std::strerror(errno));
  if (flock(file.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return Status::Unavailable("lock file " + path + ": " + std::strerror(errno));
    return Status::Conflict("another host (pid " + ReadHolder(file.get()) + ") works on queue file " + queue_path +
                            ": stop it, or give this one a file of its own");
  }
  const std::string pid = std::to_string(getpid()) + "\n";
  // On a full disk the lock is ours all the same; only a second host's error message suffers.
  if (ftruncate(file.get(), 0) == 0) static_cast<void>(!pwrite(file.get(), pid.data(), pid.size(), 0));
  return HostLock(std::move(file));
}

}  // namespace postbus::sqlite
