// host/plugin_file.h - the file of a plugin before it is loaded: who could have written it, what is in it, and the
// private copy that the loader is given. A plugin has all rights of the process, so it must come from whoever runs it.
#pragma once

#include <filesystem>
#include <string>

#include "event/status.h"
#include "queue/file_descriptor.h"

namespace postbus {

// Value type.
struct PluginFile {
  std::filesystem::path path;
  std::string content;
  std::string sha256;  // of the content; 64 lower-case hex digits
};

// Reads a plugin's file. Refused where anybody but root and this process's user could have written it: the file or its
// directory belongs to somebody else, or is writable by group or others. The error says which, with the command that
// mends it. REQUIRES: `path` is absolute.
Result<PluginFile> ReadPluginFile(const std::filesystem::path& path);

// A file SHA256.so in a directory of ours. While it lives no process removes the file. Move-only.
struct PluginCopy {
  std::filesystem::path path;
  FileDescriptor lock;  // shared flock
};

// Writes `file` into `directory`, which is made for this user alone; one of the same content is taken as it is. What
// was hashed is what is loaded; and glibc, which keeps what it once loaded from a path, sees another path for other
// content.
Result<PluginCopy> CopyPluginFile(const PluginFile& file, const std::filesystem::path& directory);

// Removes the copies that no process holds, those of processes that were killed included.
void RemoveUnusedPluginCopies(const std::filesystem::path& directory);

}  // namespace postbus
