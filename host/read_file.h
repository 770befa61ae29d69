// host/read_file.h - a whole file as text. Thread-safe.
#pragma once

#include <optional>
#include <string>

namespace postbus {

// nullopt: there is none, or it cannot be read; a directory is no file.
std::optional<std::string> ReadFile(const std::string& path);

}  // namespace postbus
