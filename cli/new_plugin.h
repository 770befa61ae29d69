// cli/new_plugin.h - `postbus plugins new`: a plugin's project to begin with, made of sdk/template/.
#pragma once

#include <filesystem>
#include <string>

#include "event/status.h"

namespace postbus {

struct NewPlugin {
  std::string name;  // a-z, 0-9 and -, a letter first
  bool is_renderer = false;
  bool in_c = false;  // else C++
};

// Writes `directory`, which must not exist yet: a CMakeLists.txt and one source.
Status WriteNewPlugin(const NewPlugin& plugin, const std::filesystem::path& directory);

}  // namespace postbus
