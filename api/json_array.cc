#include "api/json_array.h"

namespace postbus {
namespace {

constexpr std::string_view kSpace = " \t\r\n";

std::string_view Trimmed(std::string_view text) {
  const size_t begin = text.find_first_not_of(kSpace);
  if (begin == text.npos) return {};
  return text.substr(begin, text.find_last_not_of(kSpace) + 1 - begin);
}

}  // namespace

std::optional<std::vector<std::string_view>> SplitJsonArray(std::string_view text) {
  text = Trimmed(text);
  if (text.size() < 2 || text.front() != '[' || text.back() != ']') return std::nullopt;
  text = text.substr(1, text.size() - 2);
  std::vector<std::string_view> elements;
  if (Trimmed(text).empty()) return elements;

  size_t depth = 0;
  size_t begin = 0;
  const auto end_element = [&](size_t end) {
    elements.push_back(Trimmed(text.substr(begin, end - begin)));
    begin = end + 1;
    return !elements.back().empty();
  };
  for (size_t at = 0; at < text.size(); ++at) {
    switch (text[at]) {
      case '{':
      case '[':
        ++depth;
        break;
      case '}':
      case ']':
        if (depth-- == 0) return std::nullopt;
        break;
      case '"':
        for (++at; at < text.size() && text[at] != '"'; ++at) {
          if (text[at] == '\\') ++at;
        }
        if (at >= text.size()) return std::nullopt;
        break;
      case ',':
        if (depth == 0 && !end_element(at)) return std::nullopt;
        break;
      default:
        break;
    }
  }
  if (depth != 0 || !end_element(text.size())) return std::nullopt;
  return elements;
}

}  // namespace postbus
