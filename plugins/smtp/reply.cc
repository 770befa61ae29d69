#include "plugins/smtp/reply.h"

#include <algorithm>

namespace postbus::smtp {
namespace {

bool IsDigit(char c) { return c >= '0' && c <= '9'; }

// Can this be the beginning of a reply line? Seen before its end has come, so that a peer that speaks another protocol
// is not waited for.
bool StartsLikeReply(std::string_view line) {
  for (size_t i = 0; i < std::min<size_t>(line.size(), 3); ++i) {
    if (!IsDigit(line[i])) return false;
  }
  if (!line.empty() && (line[0] < '2' || line[0] > '5')) return false;
  return line.size() < 4 || line[3] == ' ' || line[3] == '-' || line[3] == '\r';
}

// Takes `2.1.5 ` from the front of `text` if it is an enhanced code of class `digit`.
void TakeEnhanced(std::string_view& text, char digit, std::array<uint16_t, 3>& enhanced) {
  if (text.size() < 5 || text[0] != digit || text[1] != '.' || digit == '3') return;
  size_t at = 2;
  uint16_t parts[2];
  for (uint16_t& part : parts) {
    const size_t begin = at;
    part = 0;
    while (at < text.size() && IsDigit(text[at]) && at - begin < 3) {
      part = static_cast<uint16_t>(part * 10 + (text[at++] - '0'));
    }
    if (at == begin) return;
    if (&part == &parts[0] && (at == text.size() || text[at++] != '.')) return;
  }
  if (at < text.size() && text[at] != ' ') return;
  enhanced = {static_cast<uint16_t>(digit - '0'), parts[0], parts[1]};
  text.remove_prefix(std::min(at + 1, text.size()));
}

}  // namespace

void ReplyParser::Reset() {
  reply_ = {};
  line_.clear();
  text_.clear();
  lines_ = 0;
  done_ = garbage_ = false;
}

ReplyParser::Progress ReplyParser::Feed(std::string_view& input) {
  if (garbage_) return Progress::kGarbage;
  if (done_) Reset();
  while (!input.empty()) {
    const size_t newline = input.find('\n');
    const bool whole = newline != std::string_view::npos;
    std::string_view line = input.substr(0, whole ? newline : input.size());
    if (line_.size() + line.size() > kMaxLine) return Garbage();
    if (!line_.empty() || !whole) {
      line_.append(line);
      line = line_;
    }
    if (!StartsLikeReply(line)) return Garbage();
    input.remove_prefix(whole ? newline + 1 : input.size());
    if (!whole) return Progress::kNeedMore;

    if (line.ends_with('\r')) line.remove_suffix(1);
    const Progress progress = TakeLine(line);
    if (progress != Progress::kNeedMore) {
      done_ = true;
      return progress;
    }
    line_.clear();
  }
  return Progress::kNeedMore;
}

ReplyParser::Progress ReplyParser::Garbage() {
  garbage_ = true;
  return Progress::kGarbage;
}

ReplyParser::Progress ReplyParser::TakeLine(std::string_view line) {
  if (line.size() < 3) return Garbage();
  const auto code = static_cast<uint16_t>((line[0] - '0') * 100 + (line[1] - '0') * 10 + (line[2] - '0'));
  const bool last = line.size() == 3 || line[3] == ' ';
  if (lines_ > 0 && code != reply_.code) return Garbage();
  std::string_view text = line.substr(std::min<size_t>(line.size(), 4));
  std::array<uint16_t, 3> enhanced{};
  TakeEnhanced(text, line[0], enhanced);
  if (lines_ == 0) {
    reply_.code = code;
    reply_.enhanced = enhanced;
    if (last) {
      reply_.text = text;
      return Progress::kReply;
    }
  }
  if (++lines_ > kMaxLines || text_.size() + text.size() + 1 > kMaxText) return Garbage();
  if (lines_ > 1) text_.push_back('\n');
  text_.append(text);
  reply_.text = text_;
  return last ? Progress::kReply : Progress::kNeedMore;
}

}  // namespace postbus::smtp
