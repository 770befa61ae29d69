#include "cli/template_files.h"

#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <vector>

#include "host/read_file.h"

namespace postbus {
namespace {

namespace fs = std::filesystem;

// FNV-1a, 64 bits.
void Mix(std::string_view bytes, uint64_t& hash) {
  for (const char byte : bytes) hash = (hash ^ static_cast<uint8_t>(byte)) * 0x100000001b3;
}

}  // namespace

std::string TemplateDirectory(const Config& config) {
  for (const ConfiguredOption& option : config.renderer.options) {
    if (option.name == "directory" && !option.text.empty()) {
      return (fs::path(config.renderer.base_dir) / option.text).lexically_normal().string();
    }
  }
  return {};
}

std::optional<std::string> SampleData(const std::string& directory, std::string_view name) {
  if (directory.empty()) return std::nullopt;
  return ReadFile((fs::path(directory) / name / "sample.json").string());
}

uint64_t DirectoryStamp(const std::string& directory) {
  uint64_t hash = 0xcbf29ce484222325;
  if (directory.empty()) return hash;
  std::vector<std::string> entries;  // in an order of our own: the directory's is any
  std::error_code error;
  for (fs::recursive_directory_iterator entry(directory, error), end; !error && entry != end; entry.increment(error)) {
    struct stat about {};
    if (::stat(entry->path().c_str(), &about) != 0) continue;
    entries.push_back(entry->path().string() + '\n' + std::to_string(about.st_mtim.tv_sec) + '.' +
                      std::to_string(about.st_mtim.tv_nsec) + ' ' + std::to_string(about.st_size) + ' ' +
                      std::to_string(about.st_ino));
  }
  std::sort(entries.begin(), entries.end());
  for (const std::string& entry : entries) Mix(entry, hash);
  return hash;
}

}  // namespace postbus
