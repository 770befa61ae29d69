// Any mail is either refused or composed into bytes that no receiver takes for something else: CRLF only, lines within
// the limit, 7 bits, exactly the headers we write, every multipart delimited as often as it has parts.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "host/mime_composer.h"

namespace {

constexpr std::string_view kMark = "\xFF\xFE";  // no UTF-8, so that every field can have anything else

void Require(bool condition) {
  if (!condition) std::abort();
}

// The input up to the next mark.
std::string_view Next(std::string_view& input) {
  const size_t end = input.find(kMark);
  const std::string_view field = input.substr(0, end);
  input.remove_prefix(end == std::string_view::npos ? input.size() : end + kMark.size());
  return field;
}

size_t Count(std::string_view text, std::string_view part) {
  size_t count = 0;
  for (size_t at = text.find(part); at != std::string_view::npos; at = text.find(part, at + part.size())) ++count;
  return count;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string_view input(reinterpret_cast<const char*>(data), size);
  const postbus::Mailbox from{std::string(Next(input)), "noreply@usualstore.com"};
  std::vector<postbus::Mailbox> to{{std::string(Next(input)), "a@b.example"}};
  if (const auto parsed = postbus::ParseMailbox(Next(input)); parsed.ok()) to.push_back(*parsed);
  postbus::MailContent content;
  content.from = &from;
  content.to = to;
  content.subject = Next(input);
  content.text = Next(input);
  content.html = Next(input);
  content.message_id = "<1@x.example>";
  const std::vector<postbus::Mailbox> cc{{std::string(Next(input)), "c@d.example"}};
  const std::vector<postbus::NamedText> headers{{"X-Fuzzed", std::string(Next(input))}};
  const std::vector<postbus::MailFile> files{{Next(input), "image/png", Next(input), "QUJDRA=="}};
  if (!cc[0].name.empty()) content.cc = content.reply_to = cc;
  if (!headers[0].value.empty()) content.headers = headers;
  if (!files[0].filename.empty()) content.files = files;

  postbus::MimeComposer composer;
  std::string mail;
  if (!composer.Compose(content, mail).ok()) {
    Require(mail.empty());
    return 0;
  }
  bool header = true;
  size_t header_count = 0;
  for (size_t start = 0; start < mail.size();) {
    const size_t end = mail.find("\r\n", start);
    Require(end != std::string::npos);
    const std::string_view line = std::string_view(mail).substr(start, end - start);
    Require(line.size() <= 998);
    Require(line.find_first_of(std::string_view("\r\n\0", 3)) == std::string_view::npos);
    const bool address = header && line.find('@') != std::string_view::npos;  // may be UTF-8 (RFC 6532)
    for (const char c : line) Require(static_cast<unsigned char>(c) < 0x80 || address);
    if (line.empty()) header = false;
    if (header && !line.starts_with(' ')) ++header_count;
    start = end + 2;
  }
  Require(!header);
  const bool alternative = !content.text.empty() && !content.html.empty();
  const bool related = !content.files.empty() && !files[0].content_id.empty() && !content.html.empty();
  const bool mixed = !content.files.empty() && !related;
  const bool one_part = !alternative && !related && !mixed;
  Require(header_count ==
          8 + (one_part ? 1 : 0) + content.cc.size() + content.reply_to.size() + content.headers.size());
  if (one_part) return 0;
  const size_t digits_at = mail.find("boundary=\"=_", mail.find("\r\nContent-Type: multipart/"));
  Require(digits_at != std::string::npos);
  const std::string digits = mail.substr(mail.find('"', digits_at + 10) - 16, 16);
  for (const auto& [mark, is_there] : {std::pair{"=_M", mixed}, {"=_R", related}, {"=_", alternative}}) {
    // Twice opened, closed; nothing of ours looks like it.
    Require(Count(mail, "\r\n--" + std::string(mark) + digits) == (is_there ? 3 : 0));
  }
  return 0;
}
