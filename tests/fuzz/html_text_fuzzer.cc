// Any bytes as HTML: no crash, and a text not much larger than what it was made of.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "host/html_text.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string text;
  postbus::HtmlToText({reinterpret_cast<const char*>(data), size}, text);
  // The most that is written for little: "<li>x" in nested lists, each line indented by all of them.
  if (text.size() > 120 * (size + 1) || text.find('\0') != std::string::npos) std::abort();
  if (!text.empty() && !text.ends_with('\n')) std::abort();
  return 0;
}
