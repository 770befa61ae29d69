#include "queue/kafka/journals.h"

#include <filesystem>
#include <string_view>
#include <system_error>

namespace postbus::kafka {
namespace {

// 1 000 records of a partition are in flight at most, and sending stops when as many are done and not committed.
constexpr uint32_t kSlots = 4096;

// A group's name may have any character; a file's not.
std::string FileName(std::string_view name) {
  constexpr std::string_view kHex = "0123456789ABCDEF";
  std::string out;
  for (const char c : name) {
    const bool plain =
        (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.';
    if (plain) {
      out += c;
    } else {
      out += {'%', kHex[static_cast<unsigned char>(c) >> 4], kHex[c & 15]};
    }
  }
  return out;
}

}  // namespace

Journals::Journals(const std::string& state_dir, std::string group_id, QueueLog log)
    : directory_(state_dir + "/journal"), group_id_(std::move(group_id)), log_(std::move(log)) {
  std::error_code failure;
  std::filesystem::create_directories(directory_, failure);  // what is wrong shows when a file is opened
}

Result<std::shared_ptr<Journal>> Journals::Of(const std::string& topic, int32_t partition) {
  const std::string path = directory_ + "/" + FileName(group_id_) + "+" + topic + "+" + std::to_string(partition);
  const std::lock_guard lock(mutex_);
  if (std::shared_ptr<Journal> open = open_[path].lock()) return open;
  std::string discarded;
  Result<std::unique_ptr<Journal>> opened = Journal::Open(path, kSlots, &discarded);
  if (!opened.ok() && opened.status().kind() == ErrorKind::kInvalid) return opened.TakeStatus();
  if (!opened.ok()) {
    log_(LogLevel::kWarning,
         std::string(opened.status().message()) + "; without it a mail under way at a kill -9 may go again");
    return std::shared_ptr<Journal>();
  }
  if (!discarded.empty()) log_(LogLevel::kInfo, "journal " + path + " is begun anew: " + discarded);
  std::shared_ptr<Journal> journal = std::move(*opened);
  open_[path] = journal;
  return journal;
}

void Journals::Detach() {
  const std::lock_guard lock(mutex_);
  for (const auto& [path, weak] : open_) {
    if (const std::shared_ptr<Journal> journal = weak.lock()) journal->Detach();
  }
}

}  // namespace postbus::kafka
