// plugins/smtp/dot_stuffing.h - a mail as the bytes between DATA and the final dot (RFC 5321 4.5.2), without copying
// it. Pure.
#pragma once

#include <cstddef>
#include <string_view>

namespace postbus::smtp {

// Why `raw` must not go out after DATA, or nullptr: it is empty, or has a NUL, a CR without LF or an LF without CR. A
// server that takes one of these for a line end would see the end of the mail, and commands, where the sender put them.
// `dot_lines` is set to whether a line begins with a dot.
const char* RawProblem(std::string_view raw, bool& dot_lines);

// What follows the last piece.
std::string_view Terminator(std::string_view raw);

// Walks `raw` in pieces that, written one after the other, are the dot-stuffed mail: a piece ends with the first dot of
// a line and the next piece begins with the same dot.
class DotStuffer {
 public:
  DotStuffer() = default;
  DotStuffer(std::string_view raw, bool dot_lines) : raw_(raw), dot_lines_(dot_lines) {}

  // The next piece of what is in front of byte `limit` of `raw`; empty: that is all of it.
  std::string_view Next(size_t limit);

 private:
  std::string_view raw_;
  size_t begin_ = 0;    // of the next piece
  size_t doubled_ = 0;  // the dots in front of this place are doubled already
  bool dot_lines_ = false;
};

}  // namespace postbus::smtp
