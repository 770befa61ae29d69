// cli/template_files.h - the template files of the configured renderer, as `render` needs them beside the renderer:
// sample data, and whether a file has changed. By convention a renderer's option `directory` has a folder a template.
// Pure functions that read the disk.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "host/config.h"

namespace postbus {

// The renderer's option `directory`, absolute; "" if it has none.
std::string TemplateDirectory(const Config& config);

// <directory>/<name>/sample.json, where there is one. REQUIRES: `name` is a template's.
std::optional<std::string> SampleData(const std::string& directory, std::string_view name);

// Another number after any file below `directory` was changed, added or removed.
uint64_t DirectoryStamp(const std::string& directory);

}  // namespace postbus
