#include "host/pauses.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <filesystem>

#include "host/read_file.h"

namespace postbus {

// A line each: `until name`.
Result<std::unique_ptr<Pauses>> Pauses::Open(std::string file) {
  auto pauses = std::make_unique<Pauses>();
  pauses->file_ = std::move(file);
  std::error_code error;
  if (!std::filesystem::exists(pauses->file_, error)) return pauses;
  const auto content = ReadFile(pauses->file_);
  if (!content) return Status::Unavailable(pauses->file_ + " cannot be read: it says which transports are paused");
  std::string_view rest = *content;
  while (!rest.empty()) {
    const size_t end = rest.find('\n');
    const std::string_view line = rest.substr(0, end);
    int64_t until = 0;
    const auto [after, problem] = std::from_chars(line.data(), line.data() + line.size(), until);
    const auto digits = static_cast<size_t>(after - line.data());
    if (end == rest.npos || problem != std::errc() || digits + 1 >= line.size() || line[digits] != ' ') {
      return Status::Invalid(pauses->file_ +
                             " is damaged: it says which transports are paused. Remove it and pause them again");
    }
    pauses->entries_[std::string(line.substr(digits + 1))].pause.until_unix_ms_ = until;
    rest.remove_prefix(end + 1);
  }
  return pauses;
}

const Pause& Pauses::Of(std::string_view transport) {
  const std::lock_guard lock(mutex_);
  Entry& entry = entries_[std::string(transport)];
  entry.known = true;
  return entry.pause;
}

Status Pauses::Set(std::string_view transport, int64_t until_unix_ms) {
  const std::lock_guard lock(mutex_);
  const auto found = entries_.find(transport);
  if (found == entries_.end() || !found->second.known) {
    std::string names;
    for (const auto& [name, entry] : entries_) {
      if (entry.known) names += (names.empty() ? "" : ", ") + name;
    }
    return Status::NotFound("there is no transport of that name; this host has " + (names.empty() ? "none" : names));
  }
  found->second.pause.until_unix_ms_.store(until_unix_ms, std::memory_order_release);
  return Write();
}

// The file is whole or as before.
Status Pauses::Write() const {
  if (file_.empty()) return {};
  std::string content;
  for (const auto& [name, entry] : entries_) {
    if (const int64_t until = entry.pause.until_unix_ms(); until > 0)
      content += std::to_string(until) + " " + name + "\n";
  }
  std::error_code ignored;  // the file tells
  std::filesystem::create_directories(std::filesystem::path(file_).parent_path(), ignored);
  const std::string next = file_ + ".new";
  const int fd = open(next.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  bool written = fd >= 0 && write(fd, content.data(), content.size()) == static_cast<ssize_t>(content.size()) &&
                 fdatasync(fd) == 0;
  int why = errno;
  if (fd >= 0) close(fd);
  if (written && std::rename(next.c_str(), file_.c_str()) != 0) {
    written = false;
    why = errno;
  }
  if (written) return {};
  return Status::Unavailable("it holds now, but not after a restart: " + file_ +
                             " cannot be written: " + std::strerror(why));
}

}  // namespace postbus
