#include "host/read_file.h"

#include <fstream>
#include <sstream>

namespace postbus {

std::optional<std::string> ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file || file.peek() == std::ifstream::traits_type::eof()) {
    // An empty file has no error; a directory opens and fails at the first byte.
    return file.is_open() && !file.bad() ? std::optional<std::string>("") : std::nullopt;
  }
  std::ostringstream text;
  text << file.rdbuf();
  return std::move(text).str();
}

}  // namespace postbus
