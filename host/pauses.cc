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
namespace {

constexpr int kMajor = 1;
constexpr std::string_view kVersionWord = "version ";

// "MAJOR.MINOR"
bool ReadVersion(std::string_view text, int& major, int& minor) {
  const char* const end = text.data() + text.size();
  const auto [dot, bad_major] = std::from_chars(text.data(), end, major);
  if (bad_major != std::errc() || dot == end || *dot != '.') return false;
  const auto [stop, bad_minor] = std::from_chars(dot + 1, end, minor);
  return bad_minor == std::errc() && stop == end;
}

}  // namespace

Result<std::unique_ptr<Pauses>> Pauses::Open(std::string file) {
  auto pauses = std::make_unique<Pauses>();
  pauses->file_ = std::move(file);
  std::error_code error;
  if (!std::filesystem::exists(pauses->file_, error)) return pauses;
  const auto content = ReadFile(pauses->file_);
  if (!content) return Status::Unavailable(pauses->file_ + " cannot be read: it says which transports are paused");
  std::string_view rest = *content;
  for (bool first = true; !rest.empty(); first = false) {
    const size_t end = rest.find('\n');
    const std::string_view line = rest.substr(0, end);
    int major = 0;
    int64_t until = 0;
    const auto [after, problem] = std::from_chars(line.data(), line.data() + line.size(), until);
    const auto digits = static_cast<size_t>(after - line.data());
    if (end != rest.npos && first && line.starts_with(kVersionWord) &&
        ReadVersion(line.substr(kVersionWord.size()), major, pauses->minor_)) {
      if (major != kMajor) {
        return Status::Invalid(pauses->file_ + " has version " + std::to_string(major) + ", this postbus knows " +
                               std::to_string(kMajor) +
                               ": it says which transports are paused. Start the postbus that wrote it, or remove the "
                               "file and pause them again");
      }
    } else if (end != rest.npos && problem == std::errc() && digits + 1 < line.size() && line[digits] == ' ') {
      pauses->entries_[std::string(line.substr(digits + 1))].pause.until_unix_ms_ = until;
    } else if (end != rest.npos && digits == 0 && pauses->minor_ > 0) {
      pauses->kept_.append(line).append(1, '\n');
    } else {
      return Status::Invalid(pauses->file_ +
                             " is damaged: it says which transports are paused. Remove it and pause them again");
    }
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
  std::string content =
      std::string(kVersionWord) + std::to_string(kMajor) + "." + std::to_string(minor_) + "\n" + kept_;
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
