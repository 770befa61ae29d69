#include "host/plugin_file.h"

#include <fcntl.h>
#include <openssl/evp.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <string_view>
#include <utility>

namespace postbus {
namespace {

namespace fs = std::filesystem;

constexpr time_t kUnfinishedSeconds = 60;
constexpr size_t kMaxBytes = size_t{256} << 20;  // of a plugin; far above what one needs

std::string LastError() { return std::strerror(errno); }

// Somebody else could change it: why, and what to do about it; "" if nobody can.
std::string TrustProblem(const struct stat& file, const fs::path& path) {
  const uid_t user = geteuid();
  if (file.st_uid != 0 && file.st_uid != user) {
    return "it belongs to user " + std::to_string(file.st_uid) +
           ", neither to root nor to the user that runs postbus (" + std::to_string(user) +
           "), so somebody else could change it; `chown " +
           (user == 0 ? "root" : "root (or " + std::to_string(user) + ")") + " " + path.string() + "`";
  }
  if ((file.st_mode & (S_IWGRP | S_IWOTH)) != 0) {
    return "group or others may write to it, so somebody else could change it; `chmod go-w " + path.string() + "`";
  }
  return {};
}

Status CheckDirectory(const fs::path& directory) {
  struct stat info {};
  if (stat(directory.c_str(), &info) != 0) return Status::NotFound(directory.string() + ": " + LastError());
  const std::string problem = TrustProblem(info, directory);
  if (problem.empty()) return {};
  return Status::Invalid(directory.string() + ": a plugin is not loaded from this directory: " + problem);
}

// Everything in it, or why not.
Result<std::string> ReadAll(int fd, size_t size) {
  std::string content(size, '\0');
  size_t done = 0;
  while (done < size) {
    const ssize_t n = pread(fd, content.data() + done, size - done, static_cast<off_t>(done));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return Status::Unavailable("cannot be read: " + LastError());
    if (n == 0) return Status::Unavailable("changed while it was read; try again");
    done += static_cast<size_t>(n);
  }
  return content;
}

bool WriteAll(int fd, std::string_view content) {
  while (!content.empty()) {
    const ssize_t n = write(fd, content.data(), content.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    content.remove_prefix(static_cast<size_t>(n));
  }
  return true;
}

std::string Sha256(std::string_view content) {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned size = 0;
  EVP_Digest(content.data(), content.size(), digest.data(), &size, EVP_sha256(), nullptr);
  constexpr std::string_view kHex = "0123456789abcdef";
  std::string text;
  for (unsigned i = 0; i < size; ++i) {
    text += kHex[digest[i] >> 4];
    text += kHex[digest[i] & 15];
  }
  return text;
}

// Does the path still lead to what was opened?
bool IsAt(int fd, const fs::path& path) {
  struct stat opened {};
  struct stat there {};
  return fstat(fd, &opened) == 0 && stat(path.c_str(), &there) == 0 && opened.st_dev == there.st_dev &&
         opened.st_ino == there.st_ino;
}

// The copy that is there, held; an empty descriptor where there is none of this content.
FileDescriptor HoldCopy(const fs::path& path, const PluginFile& file) {
  FileDescriptor fd(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  struct stat info {};
  const bool held = fd.get() >= 0 && flock(fd.get(), LOCK_SH) == 0 && IsAt(fd.get(), path) &&
                    fstat(fd.get(), &info) == 0 && TrustProblem(info, path).empty() &&
                    static_cast<size_t>(info.st_size) == file.content.size();
  if (!held) return {};
  const auto content = ReadAll(fd.get(), file.content.size());
  return content.ok() && *content == file.content ? std::move(fd) : FileDescriptor();
}

}  // namespace

Result<PluginFile> ReadPluginFile(const fs::path& path) {
  const auto refuse = [&](const std::string& problem) { return Status::Invalid(path.string() + ": " + problem); };
  const FileDescriptor fd(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  struct stat info {};
  if (fd.get() < 0 || fstat(fd.get(), &info) != 0) return refuse("cannot be opened: " + LastError());
  if (!S_ISREG(info.st_mode)) return refuse("is not a regular file");
  if (const std::string problem = TrustProblem(info, path); !problem.empty()) {
    return refuse("this plugin is not loaded: " + problem);
  }
  // Whoever may write to a directory may put another file there, also where a symbolic link leads.
  std::error_code error;
  const fs::path real = fs::canonical(path, error);
  if (error) return refuse("cannot be opened: " + error.message());
  for (const fs::path& directory : {path.parent_path(), real.parent_path()}) {
    if (Status status = CheckDirectory(directory); !status.ok()) return status;
  }
  if (static_cast<size_t>(info.st_size) > kMaxBytes) return refuse("is larger than 256 MiB");
  auto content = ReadAll(fd.get(), static_cast<size_t>(info.st_size));
  if (!content.ok()) return refuse(std::string(content.status().message()));
  PluginFile file{.path = path, .content = std::move(*content), .sha256 = {}};
  file.sha256 = Sha256(file.content);
  return file;
}

Result<PluginCopy> CopyPluginFile(const PluginFile& file, const fs::path& directory) {
  const auto fail = [](const fs::path& path) {
    return Status::Unavailable(path.string() + ": cannot keep a copy of the plugin in state_dir: " + LastError());
  };
  std::error_code error;
  fs::create_directories(directory.parent_path(), error);  // what is wrong shows in the next line
  if (mkdir(directory.c_str(), S_IRWXU) != 0 && errno != EEXIST) return fail(directory);
  if (Status status = CheckDirectory(directory); !status.ok()) return status;

  PluginCopy copy{.path = directory / (file.sha256 + ".so"), .lock = HoldCopy(directory / (file.sha256 + ".so"), file)};
  if (copy.lock.get() >= 0) return copy;
  std::string temporary = (directory / "new-XXXXXX").string();
  copy.lock = FileDescriptor(mkostemp(temporary.data(), O_CLOEXEC));
  const int fd = copy.lock.get();
  if (fd < 0) return fail(directory);
  // Locked before it has its name: nobody may take it for an unused one.
  if (flock(fd, LOCK_SH) == 0 && WriteAll(fd, file.content) && fchmod(fd, S_IRUSR) == 0 &&
      rename(temporary.c_str(), copy.path.c_str()) == 0) {
    return copy;
  }
  Status failure = fail(copy.path);
  unlink(temporary.c_str());
  return failure;
}

void RemoveUnusedPluginCopies(const fs::path& directory) {
  std::error_code error;
  for (fs::directory_iterator entry(directory, error), end; !error && entry != end; entry.increment(error)) {
    const fs::path& path = entry->path();
    const FileDescriptor fd(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
    // One that is being written may not be locked yet.
    struct stat info {};
    if (fd.get() < 0 || fstat(fd.get(), &info) != 0) continue;
    if (path.extension() != ".so" && time(nullptr) - info.st_mtime < kUnfinishedSeconds) continue;
    if (flock(fd.get(), LOCK_EX | LOCK_NB) == 0 && IsAt(fd.get(), path)) unlink(path.c_str());
  }
}

}  // namespace postbus
