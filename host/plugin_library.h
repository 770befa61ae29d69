// host/plugin_library.h - one loaded plugin file: the shared object, its entry and its tables, checked.
#pragma once

#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "event/status.h"
#include "host/plugin_file.h"
#include "postbus/abi.h"

namespace postbus {

// Thread-safe after Load. Never unloaded while an instance lives: instances hold a shared_ptr.
class PluginLibrary {
 public:
  // Loads the file (RTLD_NOW | RTLD_LOCAL) and checks, in this order: the symbol, magic, ABI version, struct sizes,
  // kind, names, option table, the kind's table with no function missing. One clear sentence for each thing wrong,
  // beginning with the path: `/x/acme.so: ABI 2.0, this postbus speaks 1.x; rebuild against postbus-sdk 1`.
  // REQUIRES: `path` is absolute.
  static Result<std::shared_ptr<const PluginLibrary>> Load(const std::filesystem::path& path);
  // The same of a private copy of it (host/plugin_file.h), which is held as long as this object lives.
  static Result<std::shared_ptr<const PluginLibrary>> LoadCopy(const std::filesystem::path& path, PluginCopy copy);

  ~PluginLibrary();

  const std::filesystem::path& path() const;
  // What the loader was given: path(), or the copy. One that has other code has another identity.
  const std::filesystem::path& file() const;
  std::string abi() const;  // the version it was built against: "1.0"
  std::string_view id() const;
  std::string_view version() const;
  std::string_view summary() const;
  std::span<const postbus_option* const> options() const;
  // nullptr where the plugin is of the other kind.
  const postbus_transport* transport() const;
  const postbus_renderer* renderer() const;
  // Another table of the plugin's; nullptr where it has none of that id. What the plugin throws is passed on.
  const void* Get(std::string_view extension_id) const;

 private:
  PluginLibrary();
  static Result<std::shared_ptr<const PluginLibrary>> Open(const std::filesystem::path& path, PluginCopy image);
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// The file of plugin `name`: itself if an absolute path, else the first directory that has `name`.so. The error lists
// the places tried and the nearest name there. A name with a slash that is no absolute path is refused.
Result<std::filesystem::path> FindPlugin(std::string_view name, std::span<const std::filesystem::path> directories);

}  // namespace postbus
