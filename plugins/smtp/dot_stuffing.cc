#include "plugins/smtp/dot_stuffing.h"

#include <algorithm>
#include <cstring>

namespace postbus::smtp {

const char* RawProblem(std::string_view raw, bool& dot_lines) {
  dot_lines = false;
  if (raw.empty()) return "the mail is empty";
  const char* at = raw.data();
  const char* const end = at + raw.size();
  if (std::memchr(at, '\0', raw.size()) != nullptr) return "the mail has a NUL in it";
  while (at < end) {
    if (*at == '.') dot_lines = true;
    const auto left = static_cast<size_t>(end - at);
    const char* const cr = static_cast<const char*>(std::memchr(at, '\r', left));
    const char* const line_end = cr != nullptr ? cr : end;
    if (std::memchr(at, '\n', static_cast<size_t>(line_end - at)) != nullptr) return "the mail has an LF without CR";
    if (cr == nullptr) break;
    if (cr + 1 == end || cr[1] != '\n') return "the mail has a CR without LF";
    at = cr + 2;
  }
  return nullptr;
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
