#include "event/text.h"

#include <algorithm>

namespace postbus {

size_t Utf8SequenceSize(std::string_view text) {
  auto byte = [&](size_t i) -> unsigned { return i < text.size() ? static_cast<unsigned char>(text[i]) : 0u; };
  auto tail = [&](size_t i) { return (byte(i) & 0xC0u) == 0x80u; };
  if (text.empty()) return 0;
  const unsigned first = byte(0);
  const unsigned second = byte(1);
  if (first < 0x80) return 1;
  if (first < 0xC2 || first > 0xF4 || !tail(1)) return 0;
  if (first < 0xE0) return 2;
  if (first < 0xF0) {
    const bool overlong = first == 0xE0 && second < 0xA0;
    const bool surrogate = first == 0xED && second > 0x9F;
    return !overlong && !surrogate && tail(2) ? 3 : 0;
  }
  const bool overlong = first == 0xF0 && second < 0x90;
  const bool beyond = first == 0xF4 && second > 0x8F;
  return !overlong && !beyond && tail(2) && tail(3) ? 4 : 0;
}

bool IsControl(std::string_view sequence) {
  const auto first = static_cast<unsigned char>(sequence[0]);
  if (sequence.size() == 1) return first < 0x20 || first == 0x7F;
  if (sequence.size() == 2) return first == 0xC2 && static_cast<unsigned char>(sequence[1]) < 0xA0;
  return sequence == "\u2028" || sequence == "\u2029";
}

// Without a branch in the loop, so that the compiler takes many bytes a step.
bool IsAscii(std::string_view text) {
  unsigned char all = 0;
  for (const char c : text) all |= static_cast<unsigned char>(c);
  return all < 0x80;
}

bool EqualIgnoringCase(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](char x, char y) { return ToLower(x) == ToLower(y); });
}

std::string Quoted(std::string_view text) {
  constexpr size_t kMaxBytes = 64;
  std::string quoted = "\"";
  size_t at = 0;
  while (at < text.size()) {
    const size_t size = Utf8SequenceSize(text.substr(at));
    const std::string_view sequence = text.substr(at, size == 0 ? 1 : size);
    if (at + sequence.size() > kMaxBytes) break;
    if (size == 0 || IsControl(sequence)) {
      quoted += '?';
    } else {
      quoted += sequence;
    }
    at += sequence.size();
  }
  quoted += at < text.size() ? "\"..." : "\"";
  return quoted;
}

std::string Joined(const std::vector<std::string>& words, std::string_view between) {
  std::string joined;
  for (const std::string& word : words) {
    if (!joined.empty()) joined += between;
    joined += word;
  }
  return joined;
}

}  // namespace postbus
