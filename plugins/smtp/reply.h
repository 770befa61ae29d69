// plugins/smtp/reply.h - reads SMTP replies (RFC 5321 4.2) with enhanced codes (RFC 3463) out of a byte stream that may
// be cut anywhere. No sockets. Not thread-safe; one parser a connection.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

namespace postbus::smtp {

struct Reply {
  uint16_t code = 0;                   // 200 to 599
  std::array<uint16_t, 3> enhanced{};  // class, subject, detail; class 0: none
  std::string_view text;               // lines without their codes, separated by '\n'
};

class ReplyParser {
 public:
  static constexpr size_t kMaxLine = 2048;  // RFC 5321 says 512; servers with a tale to tell exceed it
  static constexpr size_t kMaxLines = 128;
  static constexpr size_t kMaxText = 16384;

  enum class Progress { kNeedMore, kReply, kGarbage };

  // Takes bytes from the front of `input`: all of them (kNeedMore), or up to the end of one reply (kReply; call again
  // for the rest). kGarbage: this is no SMTP, and nothing behind it can be trusted; the parser stays so until Reset.
  Progress Feed(std::string_view& input);

  // The reply of the last kReply. Its text is valid until the next Feed, and as long as the bytes given to Feed.
  const Reply& reply() const { return reply_; }

  void Reset();

 private:
  Progress TakeLine(std::string_view line);
  Progress Garbage();

  Reply reply_;
  std::string line_;  // the beginning of a line whose end has not come yet
  std::string text_;  // of a reply of several lines
  size_t lines_ = 0;
  bool done_ = false;  // reply_ was handed out
  bool garbage_ = false;
};

}  // namespace postbus::smtp
