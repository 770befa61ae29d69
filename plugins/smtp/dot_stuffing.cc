#include "plugins/smtp/dot_stuffing.h"

#include <algorithm>

namespace postbus::smtp {

const char* RawProblem(std::string_view raw, bool& dot_lines) {
  dot_lines = false;
  if (raw.empty()) return "the mail is empty";
  // Without a branch in the loop, so that the compiler takes many bytes a step: every mail passes here.
  unsigned char wrong = raw.front() == '\n' || raw.back() == '\r' || raw.back() == '\0';
  unsigned char dots = raw.front() == '.';
  const char* const bytes = raw.data();
  for (size_t i = 0; i + 1 < raw.size(); ++i) {
    const unsigned char is_cr = bytes[i] == '\r';
    const unsigned char before_lf = bytes[i + 1] == '\n';
    wrong |= static_cast<unsigned char>((is_cr ^ before_lf) | (bytes[i] == '\0'));
    dots |= static_cast<unsigned char>((bytes[i] == '\n') & (bytes[i + 1] == '.'));
  }
  dot_lines = dots != 0;
  if (wrong == 0) return nullptr;
  if (raw.find('\0') != std::string_view::npos) return "the mail has a NUL in it";
  for (size_t cr = raw.find('\r'); cr != std::string_view::npos; cr = raw.find('\r', cr + 1)) {
    if (cr + 1 == raw.size() || raw[cr + 1] != '\n') return "the mail has a CR without LF";
  }
  return "the mail has an LF without CR";
}

std::string_view Terminator(std::string_view raw) { return raw.ends_with("\r\n") ? ".\r\n" : "\r\n.\r\n"; }

std::string_view DotStuffer::Next(size_t limit) {
  limit = std::min(limit, raw_.size());
  if (begin_ >= limit) return {};
  size_t end = limit;
  if (dot_lines_) {
    size_t dot = std::string_view::npos;
    if (doubled_ == 0 && raw_.front() == '.') {
      dot = 0;
    } else {
      // From two bytes earlier: the last piece may have ended between the line end and the dot.
      const size_t found = raw_.substr(0, limit).find("\r\n.", doubled_ < 2 ? 0 : doubled_ - 2);
      if (found != std::string_view::npos) dot = found + 2;
    }
    if (dot != std::string_view::npos) {
      const std::string_view piece = raw_.substr(begin_, dot + 1 - begin_);
      begin_ = dot;
      doubled_ = dot + 1;
      return piece;
    }
    doubled_ = std::max(doubled_, limit);
  }
  const std::string_view piece = raw_.substr(begin_, end - begin_);
  begin_ = end;
  return piece;
}

}  // namespace postbus::smtp
