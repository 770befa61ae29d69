// host/mime_composer.h - writes canonical RFC 5322 mail: CRLF only, lines <= 998 bytes, 7-bit, headers folded at 78
// with RFC 2047 encoded-words, multipart/mixed > related > alternative (RFC 2046, 2387) with quoted-printable or base64
// where needed, file names by RFC 2231. The same input gives the same bytes: every copy of a mail is equal.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "event/email_event.h"
#include "event/status.h"

namespace postbus {

// A file of a mail.
struct MailFile {
  std::string_view filename;
  std::string_view content_type;  // IsMediaType()
  std::string_view content_id;    // without angle brackets; not empty: inline
  std::string_view base64;        // RFC 4648 section 4, padded, without line breaks; goes into the mail as it is
};

// Everything a mail is made of. Views, valid for the call. Text and HTML are UTF-8 with any line ends.
struct MailContent {
  const Mailbox* from = nullptr;
  std::span<const Mailbox> to;
  std::span<const Mailbox> cc = {};
  std::span<const Mailbox> reply_to = {};
  std::string_view subject;
  std::string_view text;  // one of text and html may be empty: then there is one part
  std::string_view html;
  std::span<const NamedText> headers = {};  // more of them: none that is written here
  std::span<const MailFile> files = {};
  std::string_view message_id;  // with angle brackets
  int64_t date_unix_ms = 0;     // written in UTC
};

// Refuses (kInvalid) what no field may contain: see HeaderTextProblem; NUL or invalid UTF-8 in a body.
// Keeps scratch buffers; not thread-safe, one a shard.
class MimeComposer {
 public:
  // Replaces `out`.
  Status Compose(const MailContent& content, std::string& out);

  // Is there no byte above 127 in the last mail? Only an address can bring one.
  bool is_7bit() const { return is_7bit_; }

 private:
  std::string scratch_;
  bool is_7bit_ = true;
};

// `<id@domain>` with what RFC 5322 dot-atom does not allow in `id` written as =XX: the same for every copy of a mail.
void AppendMessageId(std::string_view event_id, std::string_view domain, std::string& out);

}  // namespace postbus
