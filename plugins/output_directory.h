// plugins/output_directory.h - the directory a transport writes mails into, for those that send nothing.
//
// Threads: any, at the same time. Lifetime: the descriptor is open as long as the object.
#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

namespace postbus {

// The words for an errno.
inline std::string Reason(int error) { return std::generic_category().message(error); }

// 0 or errno.
inline int WriteAll(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(fd, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return errno;
    bytes.remove_prefix(static_cast<size_t>(written));
  }
  return 0;
}

class OutputDirectory {
 public:
  // Makes the directory where it is not there and opens it. Throws std::runtime_error where that cannot be.
  explicit OutputDirectory(std::string path) : path_(std::move(path)) {
    std::error_code error;
    std::filesystem::create_directories(path_, error);
    if (error) throw std::runtime_error("cannot make the directory " + path_ + ": " + error.message());
    fd_ = ::open(path_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd_ < 0) throw std::runtime_error("cannot open the directory " + path_ + ": " + Reason(errno));
  }
  ~OutputDirectory() { ::close(fd_); }
  OutputDirectory(const OutputDirectory&) = delete;
  OutputDirectory& operator=(const OutputDirectory&) = delete;

  const std::string& path() const { return path_; }
  int fd() const { return fd_; }

  // Writes `bytes` into the file `name`, new or emptied; with `sync` they are on the disk. 0 or errno; then there is no
  // such file.
  int WriteFile(const std::string& name, std::string_view bytes, bool sync) const {
    const int file = ::openat(fd_, name.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0640);
    if (file < 0) return errno;
    int error = WriteAll(file, bytes);
    if (error == 0 && sync && ::fsync(file) != 0) error = errno;
    if (::close(file) != 0 && error == 0) error = errno;
    if (error != 0) RemoveFile(name);
    return error;
  }
  void RemoveFile(const std::string& name) const { ::unlinkat(fd_, name.c_str(), 0); }

 private:
  const std::string path_;
  int fd_ = -1;
};

}  // namespace postbus
