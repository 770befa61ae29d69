#include "queue/sqlite/wake_pipe.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <array>
#include <cerrno>
#include <cstring>

namespace postbus::sqlite {

Result<WakePipe> WakePipe::Open(const std::string& queue_path) {
  const std::string path = queue_path + ".wake";
  if (mkfifo(path.c_str(), 0600) != 0 && errno != EEXIST) {
    return Status::Unavailable("FIFO " + path + " cannot be created: " + std::strerror(errno));
  }
  FileDescriptor fifo(open(path.c_str(), O_RDWR | O_NONBLOCK | O_CLOEXEC));
  struct stat info {};
  if (fifo.get() < 0 || fstat(fifo.get(), &info) != 0) {
    return Status::Unavailable("FIFO " + path + " cannot be opened: " + std::strerror(errno));
  }
  if (!S_ISFIFO(info.st_mode)) return Status::Invalid(path + " is no FIFO: remove it, postbus makes its own");
  return WakePipe(std::move(fifo));
}

void WakePipe::Notify() const {
  const char byte = 1;
  while (write(fd(), &byte, 1) < 0 && errno == EINTR) {
  }
}

void WakePipe::Drain() const {
  std::array<char, 4096> bytes{};
  while (read(fd(), bytes.data(), bytes.size()) > 0) {
  }
}

}  // namespace postbus::sqlite
