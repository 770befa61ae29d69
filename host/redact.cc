#include "host/redact.h"

namespace postbus {
namespace {

bool EndsWord(char c) {
  const auto byte = static_cast<unsigned char>(c);
  return byte <= ' ' || byte == 0x7f || c == '<' || c == '>' || c == '"' || c == '\'' || c == '(' || c == ')' ||
         c == ',' || c == ';' || c == '[' || c == ']';
}

}  // namespace

void AppendRedacted(std::string_view text, size_t max_bytes, std::string& out) {
  const size_t begin = out.size();
  for (size_t i = 0; i < text.size() && out.size() - begin <= max_bytes;) {
    if (EndsWord(text[i])) {
      const auto byte = static_cast<unsigned char>(text[i++]);
      out += byte < ' ' || byte == 0x7f ? ' ' : static_cast<char>(byte);
      continue;
    }
    size_t end = i;
    while (end < text.size() && !EndsWord(text[end])) ++end;
    const std::string_view word = text.substr(i, end - i);
    if (word.find('@') == word.npos) {
      out += word;
    } else {
      const bool bracketed = out.size() > begin && out.back() == '<';
      out += bracketed ? "address" : "<address>";
    }
    i = end;
  }
  if (out.size() - begin > max_bytes) {
    size_t keep = begin + max_bytes;
    while (keep > begin && (static_cast<unsigned char>(out[keep]) & 0xC0) == 0x80) --keep;
    out.resize(keep);
  }
}

std::string Redacted(std::string_view text, size_t max_bytes) {
  std::string out;
  AppendRedacted(text, max_bytes, out);
  return out;
}

}  // namespace postbus
