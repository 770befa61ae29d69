#include "queue/kafka/instance_id.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <filesystem>
#include <random>
#include <utility>

namespace postbus::kafka {
namespace {

constexpr int kMaxSlots = 256;
constexpr size_t kMaxIdBytes = 96;

std::string MakeId(int slot) {
  std::array<char, 65> host{};
  if (gethostname(host.data(), host.size() - 1) != 0) host = {"host"};
  std::string id;
  for (const char c : std::string_view(host.data())) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-';
    id += plain ? c : '-';
  }
  constexpr std::string_view kHex = "0123456789abcdef";
  std::random_device random;
  id += '-';
  for (int i = 0; i < 8; ++i) id += kHex[random() % 16];
  return id + "-" + std::to_string(slot);
}

// A file that was cut short by a crash does not end in a line break and counts as empty.
std::string ReadId(int fd) {
  std::array<char, kMaxIdBytes + 1> text{};
  const ssize_t size = pread(fd, text.data(), text.size(), 0);
  if (size < 2 || text[static_cast<size_t>(size) - 1] != '\n') return {};
  return std::string(text.data(), static_cast<size_t>(size) - 1);
}

bool WriteId(int fd, const std::string& id) {
  const std::string line = id + "\n";
  return ftruncate(fd, 0) == 0 && pwrite(fd, line.data(), line.size(), 0) == static_cast<ssize_t>(line.size());
}

}  // namespace

Result<InstanceId> InstanceId::Acquire(const std::string& state_dir) {
  std::error_code failure;
  std::filesystem::create_directories(state_dir, failure);  // what is wrong shows when the file is opened
  for (int slot = 0; slot < kMaxSlots; ++slot) {
    const std::string path = state_dir + "/instance-" + std::to_string(slot);
    const int fd = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0) return Status::Unavailable("cannot write " + path + " (state_dir): " + std::strerror(errno));
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
      close(fd);
      continue;  // another host's
    }
    InstanceId instance(fd, ReadId(fd));
    if (!instance.id_.empty()) return instance;
    instance.id_ = MakeId(slot);
    if (!WriteId(fd, instance.id_)) {
      return Status::Unavailable("cannot write " + path + " (state_dir): " + std::strerror(errno));
    }
    return instance;
  }
  return Status::Conflict("all " + std::to_string(kMaxSlots) + " instances of " + state_dir + " are in use");
}

InstanceId::InstanceId(InstanceId&& other) noexcept : fd_(std::exchange(other.fd_, -1)), id_(std::move(other.id_)) {}

InstanceId::~InstanceId() {
  if (fd_ >= 0) close(fd_);
}

}  // namespace postbus::kafka
