// queue/utf8_cut.h - shortens text for fields with a limit in bytes, never in the middle of a UTF-8 character.
// A pure function.
#pragma once

#include <cstddef>
#include <string_view>

namespace postbus {

// The longest prefix of `text` of at most `max_bytes` that ends at a character. Bytes that are no UTF-8 are cut
// anywhere.
inline std::string_view CutUtf8(std::string_view text, size_t max_bytes) {
  if (text.size() <= max_bytes) return text;
  constexpr size_t kMaxContinuationBytes = 3;
  size_t end = max_bytes;
  while (end > 0 && max_bytes - end < kMaxContinuationBytes && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) {
    --end;
  }
  const bool continuation = (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80;
  return text.substr(0, continuation ? max_bytes : end);
}

}  // namespace postbus
