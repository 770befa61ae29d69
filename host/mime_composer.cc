#include "host/mime_composer.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <optional>

#include "event/text.h"

namespace postbus {
namespace {

constexpr size_t kFoldAt = 78;           // RFC 5322 2.1.1: what a line should not exceed
constexpr size_t kMaxLine = 998;         // and what it must not
constexpr size_t kEncodedWordLine = 76;  // RFC 2047 2: a line that has an encoded-word
constexpr size_t kEncodedWord = 75;
constexpr size_t kQuotedPrintableLine = 76;  // RFC 2045 6.7, with the "=" of a soft line break
constexpr size_t kBase64Line = 76;           // RFC 2045 6.8
constexpr size_t kBase64LineBytes = kBase64Line / 4 * 3;

constexpr std::string_view kQEncodedWord = "=?UTF-8?Q?";
constexpr std::string_view kBEncodedWord = "=?UTF-8?B?";
constexpr std::string_view kEncodedWordEnd = "?=";
constexpr size_t kEncodedWordFrame = kQEncodedWord.size() + kEncodedWordEnd.size();

constexpr char kHexDigits[] = "0123456789ABCDEF";
constexpr char kBase64Digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

// What a byte may be written as.
enum : uint8_t {
  kAtext = 1 << 0,        // RFC 5322 3.2.3
  kQText = 1 << 1,        // itself in a Q encoded-word of unstructured text (RFC 2047 4.2)
  kQPhrase = 1 << 2,      // itself in a Q encoded-word of a display name (RFC 2047 5 (3))
  kPrintable = 1 << 3,    // 0x20 to 0x7E
  kQuotedPlain = 1 << 4,  // itself in quoted-printable, but a blank at the end of a line
  kParameter = 1 << 5,    // itself in an RFC 2231 parameter value; RFC allows a few more
};

constexpr std::array<uint8_t, 256> kClasses = [] {
  std::array<uint8_t, 256> classes{};
  for (unsigned c = 0x20; c < 0x7F; ++c) {
    const char character = static_cast<char>(c);
    const bool alphanumeric = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    auto among = [&](std::string_view set) { return set.find(character) != std::string_view::npos; };
    classes[c] |= kPrintable;
    if (alphanumeric || among("!#$%&'*+-/=?^_`{|}~")) classes[c] |= kAtext;
    if (c != ' ' && !among("=?_")) classes[c] |= kQText;
    if (alphanumeric || among("!*+-/")) classes[c] |= kQPhrase;
    if (c != '=') classes[c] |= kQuotedPlain;
    if (alphanumeric || among("-._~")) classes[c] |= kParameter;
  }
  classes['\t'] |= kQuotedPlain;
  return classes;
}();

bool Is(char c, uint8_t wanted) { return (kClasses[static_cast<unsigned char>(c)] & wanted) != 0; }
bool AllAre(std::string_view text, uint8_t wanted) {
  return std::all_of(text.begin(), text.end(), [&](char c) { return Is(c, wanted); });
}
bool IsBlank(char c) { return c == ' ' || c == '\t'; }
bool IsContinuation(char c) { return (static_cast<unsigned char>(c) & 0xC0) == 0x80; }

// The high bits of the eight bytes at `at`.
uint64_t HighBits(std::string_view text, size_t at) {
  uint64_t word;
  std::memcpy(&word, text.data() + at, sizeof(word));
  return word & 0x8080808080808080u;
}

// How many bytes are above 127.
size_t CountNonAscii(std::string_view text) {
  size_t count = 0;
  size_t at = 0;
  for (; at + 8 <= text.size(); at += 8) {
    count += (HighBits(text, at) >> 7) * 0x0101010101010101u >> 56;  // the sum of the eight
  }
  for (; at < text.size(); ++at) count += static_cast<unsigned char>(text[at]) >> 7;
  return count;
}

// RFC 3629: no overlong form, no surrogate, nothing beyond U+10FFFF.
bool IsUtf8(std::string_view text) {
  if (IsAscii(text)) return true;
  size_t at = 0;
  while (at < text.size()) {
    if (at + 8 <= text.size() && HighBits(text, at) == 0) {
      at += 8;
      continue;
    }
    const auto first = static_cast<unsigned char>(text[at]);
    const unsigned char second = at + 1 < text.size() ? static_cast<unsigned char>(text[at + 1]) : 0;
    size_t size = 1;
    if (first >= 0x80) {
      if (first < 0xC2 || first > 0xF4) return false;
      if (first == 0xE0 && second < 0xA0) return false;
      if (first == 0xED && second > 0x9F) return false;
      if (first == 0xF0 && second < 0x90) return false;
      if (first == 0xF4 && second > 0x8F) return false;
      size = first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
      if (at + size > text.size()) return false;
      for (size_t i = 1; i < size; ++i) {
        if (!IsContinuation(text[at + i])) return false;
      }
    }
    at += size;
  }
  return true;
}

void AppendHexByte(char byte, std::string& out, char mark = '=') {
  const auto value = static_cast<unsigned char>(byte);
  const char escape[] = {mark, kHexDigits[value >> 4], kHexDigits[value & 15]};
  out.append(escape, sizeof(escape));
}

// Writes base64 of `text` to `to`; returns its end.
char* EncodeBase64(std::string_view text, char* to) {
  auto byte = [&](size_t i) { return static_cast<uint32_t>(static_cast<unsigned char>(text[i])); };
  size_t at = 0;
  for (; at + 3 <= text.size(); at += 3) {
    const uint32_t bits = byte(at) << 16 | byte(at + 1) << 8 | byte(at + 2);
    *to++ = kBase64Digits[bits >> 18];
    *to++ = kBase64Digits[bits >> 12 & 63];
    *to++ = kBase64Digits[bits >> 6 & 63];
    *to++ = kBase64Digits[bits & 63];
  }
  if (at < text.size()) {
    const bool two = at + 2 == text.size();
    const uint32_t bits = byte(at) << 16 | (two ? byte(at + 1) << 8 : 0);
    *to++ = kBase64Digits[bits >> 18];
    *to++ = kBase64Digits[bits >> 12 & 63];
    *to++ = two ? kBase64Digits[bits >> 6 & 63] : '=';
    *to++ = '=';
  }
  return to;
}

// ---- headers -------------------------------------------------------------------------------------------------------

// Characters since the last line break.
size_t Column(const std::string& out) { return out.size() - (out.rfind('\n') + 1); }

// `text` as encoded-words, on as many lines as it takes, from the present column on. Between two encoded-words the line
// break and the space are not part of the text, so every byte of it is inside one. `q_class` says what Q may leave.
void AppendEncodedWords(std::string_view text, uint8_t q_class, std::string& out) {
  size_t q_size = 0;
  for (const char c : text) q_size += c == ' ' || Is(c, q_class) ? 1 : 3;
  const bool q = q_size <= (text.size() + 2) / 3 * 4;

  size_t column = Column(out);
  constexpr size_t kLongestCodePoint = 12;  // four bytes, each =XX
  if (column + kEncodedWordFrame + kLongestCodePoint > kEncodedWordLine) {
    if (out.back() == ' ') out.pop_back();
    out += "\r\n ";
    column = 1;
  }
  while (true) {
    const size_t room = std::min(kEncodedWord, kEncodedWordLine - column) - kEncodedWordFrame;
    size_t taken = 0;
    size_t unpadded = 0;
    size_t size = 0;
    while (taken < text.size()) {  // as many whole code points as there is room for
      size_t next = taken;
      size_t grown = size;
      do {
        grown += q && (text[next] == ' ' || Is(text[next], q_class)) ? 1 : 3;
        ++next;
      } while (next < text.size() && IsContinuation(text[next]));
      if ((q ? grown : (next + 2) / 3 * 4) > room) break;
      taken = next;
      size = grown;
      if (taken % 3 == 0) unpadded = taken;
    }
    // GMime joins adjacent words before it decodes base64, and stops at a padding in between.
    if (!q && taken < text.size() && unpadded > 0) taken = unpadded;
    const std::string_view word = text.substr(0, taken);
    if (q) {
      out += kQEncodedWord;
      for (const char c : word) {
        if (c == ' ') {
          out += '_';
        } else if (Is(c, q_class)) {
          out += c;
        } else {
          AppendHexByte(c, out);
        }
      }
    } else {
      out += kBEncodedWord;
      char digits[kEncodedWord];
      out.append(digits, static_cast<size_t>(EncodeBase64(word, digits) - digits));
    }
    out += kEncodedWordEnd;
    text.remove_prefix(taken);
    if (text.empty()) return;
    out += "\r\n ";
    column = 1;
  }
}

// Can `text` stand in a header as it is? Not if a reader would take it for something else.
bool IsPlain(std::string_view text) {
  return AllAre(text, kPrintable) && !text.starts_with(' ') && !text.ends_with(' ') &&
         text.find("=?") == std::string_view::npos;
}

void AppendSubject(std::string_view subject, std::string& out) {
  out += "Subject: ";
  const size_t start = out.size();
  if (IsPlain(subject)) {
    size_t column = Column(out);
    std::string_view rest = subject;
    while (true) {
      // A word with the spaces before it; the line is broken before them.
      const size_t word = std::min(rest.find_first_not_of(' '), rest.size());
      const std::string_view token = rest.substr(0, rest.find(' ', word));
      if (column + token.size() > kFoldAt) {
        if (out.size() == start || token.size() > kFoldAt) break;  // cannot be broken: encode
        out += "\r\n";
        column = 0;
      }
      out += token;
      column += token.size();
      rest.remove_prefix(token.size());
      if (rest.empty()) {
        out += "\r\n";
        return;
      }
    }
    out.resize(start);
  }
  AppendEncodedWords(subject, kQText, out);
  out += "\r\n";
}

// Would a reader decode some of `text` as an encoded-word, =?charset?encoding?text?= ?
bool LooksEncoded(std::string_view text) {
  for (size_t at = text.find("=?"); at != std::string_view::npos; at = text.find("=?", at + 1)) {
    const std::string_view word = text.substr(at, text.find(' ', at) - at);
    const size_t encoding = word.find('?', 2);
    if (encoding != std::string_view::npos && word.size() > encoding + 2 && word[encoding + 2] == '?' &&
        word.find("?=", encoding + 3) != std::string_view::npos) {
      return true;
    }
  }
  return false;
}

// On one line where it can stand as it is: folded, some readers of List-Unsubscribe and JSON lose it.
void AppendHeader(const NamedText& header, std::string& out) {
  out += header.name;
  out += ": ";
  const std::string_view value = header.value;
  const bool plain = AllAre(value, kPrintable) && !value.starts_with(' ') && !value.ends_with(' ');
  if (plain && Column(out) + value.size() <= kMaxLine && !LooksEncoded(value)) {
    out += value;
  } else {
    AppendEncodedWords(value, kQText, out);
  }
  out += "\r\n";
}

// Appends ` token`, on a new line where it does not fit. One place is kept for the comma of a list. Right behind the
// header's name there is no new line: a first line that is empty is read as an empty header by some.
void AppendToken(std::string_view token, bool may_break, std::string& out) {
  out += may_break && Column(out) + 1 + token.size() + 1 > kFoldAt ? "\r\n " : " ";
  out += token;
}

void AppendDisplayName(std::string_view name, bool may_break, std::string& out) {
  constexpr size_t kLongest = kFoldAt - std::string_view("Reply-To: ").size();
  const bool plain = AllAre(name, kPrintable) && name.find("=?") == std::string_view::npos;
  if (plain && name.size() <= kLongest) {
    const bool atoms = std::all_of(name.begin(), name.end(), [](char c) { return c == ' ' || Is(c, kAtext); });
    if (atoms && IsPlain(name) && name.find("  ") == std::string_view::npos) {
      AppendToken(name, may_break, out);
      return;
    }
    std::array<char, 2 * kLongest + 2> quoted;
    size_t size = 0;
    quoted[size++] = '"';
    for (const char c : name) {
      if (c == '"' || c == '\\') quoted[size++] = '\\';
      quoted[size++] = c;
    }
    quoted[size++] = '"';
    if (size <= kLongest) {
      AppendToken({quoted.data(), size}, may_break, out);
      return;
    }
  }
  out += ' ';
  AppendEncodedWords(name, kQPhrase, out);
}

// `header` with its colon.
void AppendMailboxes(std::string_view header, std::span<const Mailbox> mailboxes, std::string& out) {
  out += header;
  bool first = true;
  for (const Mailbox& mailbox : mailboxes) {
    if (!first) out += ',';
    if (mailbox.name.empty()) {
      AppendToken(mailbox.address, !first, out);
    } else {
      AppendDisplayName(mailbox.name, !first, out);
      const size_t size = mailbox.address.size() + 2;
      out += Column(out) + 1 + size + 1 > kFoldAt ? "\r\n <" : " <";
      out += mailbox.address;
      out += '>';
    }
    first = false;
  }
  out += "\r\n";
}

void AppendTwoDigits(unsigned value, std::string& out) {
  out += static_cast<char>('0' + value / 10 % 10);
  out += static_cast<char>('0' + value % 10);
}

// RFC 5322 3.3, in UTC. REQUIRES: a year of four digits.
void AppendDate(std::chrono::sys_time<std::chrono::milliseconds> time, std::string& out) {
  constexpr char kDays[] = "SunMonTueWedThuFriSat";
  constexpr char kMonths[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
  const auto day = std::chrono::floor<std::chrono::days>(time);
  const std::chrono::year_month_day date(day);
  const auto seconds = static_cast<unsigned>(std::chrono::floor<std::chrono::seconds>(time - day).count());
  const auto year = static_cast<unsigned>(static_cast<int>(date.year()));
  out += "Date: ";
  out.append(kDays + 3 * std::chrono::weekday(day).c_encoding(), 3);
  out += ", ";
  AppendTwoDigits(static_cast<unsigned>(date.day()), out);
  out += ' ';
  out.append(kMonths + 3 * (static_cast<unsigned>(date.month()) - 1), 3);
  out += ' ';
  AppendTwoDigits(year / 100, out);
  AppendTwoDigits(year % 100, out);
  out += ' ';
  AppendTwoDigits(seconds / 3600, out);
  out += ':';
  AppendTwoDigits(seconds / 60 % 60, out);
  out += ':';
  AppendTwoDigits(seconds % 60, out);
  out += " +0000\r\n";
}

// ---- bodies --------------------------------------------------------------------------------------------------------

bool Contains(std::string_view text, std::string_view part) {
  return memmem(text.data(), text.size(), part.data(), part.size()) != nullptr;
}

// The body with LF line ends; `scratch` holds it where CR is in it.
std::string_view WithLineFeeds(std::string_view body, std::string& scratch) {
  size_t cr = body.find('\r');
  if (cr == std::string_view::npos) return body;
  scratch.clear();
  while (cr != std::string_view::npos) {
    scratch += body.substr(0, cr);
    scratch += '\n';
    body.remove_prefix(cr + (body.substr(cr).starts_with("\r\n") ? 2 : 1));
    cr = body.find('\r');
  }
  scratch += body;
  return scratch;
}

// The functions below append `body` (LF line ends) with CRLF line ends, the last line's included. They write through a
// pointer into room for the worst case: a call of append() for each line costs more than the copying.

// False, and nothing appended, if a line is too long. REQUIRES: ASCII.
bool Append7Bit(std::string_view body, std::string& out) {
  const size_t start = out.size();
  out.resize(start + body.size() + static_cast<size_t>(std::count(body.begin(), body.end(), '\n')) + 2);
  char* to = out.data() + start;
  while (true) {
    const size_t line = std::min(body.find('\n'), body.size());
    if (line > kMaxLine) {
      out.resize(start);
      return false;
    }
    to = std::copy_n(body.data(), line, to);
    *to++ = '\r';
    *to++ = '\n';
    if (line + 1 >= body.size()) break;
    body.remove_prefix(line + 1);
  }
  out.resize(static_cast<size_t>(to - out.data()));
  return true;
}

void AppendQuotedPrintable(std::string_view body, std::string& out) {
  constexpr size_t kRoom = kQuotedPrintableLine - 1;  // the "=" of a soft line break
  const size_t start = out.size();
  out.resize(start + 3 * body.size() + 3 * (3 * body.size() / (kRoom - 2) + 1) + 2);
  char* to = out.data() + start;
  size_t column = 0;
  auto escape = [&](char c) {
    const auto value = static_cast<unsigned char>(c);
    *to++ = '=';
    *to++ = kHexDigits[value >> 4];
    *to++ = kHexDigits[value & 15];
    column += 3;
  };
  auto soft_break = [&] {
    to = std::copy_n("=\r\n", 3, to);
    column = 0;
  };
  auto ends_line = [&](size_t at) { return at == body.size() || body[at] == '\n'; };

  size_t at = 0;
  while (at < body.size()) {
    // A line that begins with "From " becomes ">From " where mail is kept in mbox files.
    if (column == 0 && body[at] == 'F' && body.substr(at, 5) == "From ") escape(body[at++]);

    size_t end = at;
    const size_t limit = std::min(body.size(), at + kRoom - column);
    while (end < limit && Is(body[end], kQuotedPlain)) ++end;
    if (end > at && ends_line(end) && IsBlank(body[end - 1])) --end;  // would be lost on the way
    to = std::copy_n(body.data() + at, end - at, to);
    column += end - at;
    at = end;

    if (at == body.size()) break;
    const char c = body[at];
    if (c == '\n') {
      to = std::copy_n("\r\n", 2, to);
      column = 0;
      ++at;
    } else if (Is(c, kQuotedPlain) && !(IsBlank(c) && ends_line(at + 1))) {
      soft_break();
    } else {
      if (column + 3 > kRoom) soft_break();
      escape(c);
      ++at;
    }
  }
  if (column > 0 || body.empty()) to = std::copy_n("\r\n", 2, to);
  out.resize(static_cast<size_t>(to - out.data()));
}

void AppendBase64(std::string_view body, std::string& out) {
  const size_t start = out.size();
  out.resize(start + (2 * body.size() / kBase64LineBytes + 1) * (kQuotedPrintableLine + 2));
  char* to = out.data() + start;
  std::array<char, kBase64LineBytes> line;
  size_t filled = 0;
  auto put = [&](char c) {
    line[filled++] = c;
    if (filled < line.size()) return;
    to = EncodeBase64({line.data(), filled}, to);
    *to++ = '\r';
    *to++ = '\n';
    filled = 0;
  };
  for (const char c : body) {
    if (c == '\n') put('\r');
    put(c);
  }
  if (filled > 0) {
    to = EncodeBase64({line.data(), filled}, to);
    *to++ = '\r';
    *to++ = '\n';
  }
  out.resize(static_cast<size_t>(to - out.data()));
}

// One part: its two headers, the empty line and the body in the encoding that suits it.
void AppendPart(std::string_view content_type, std::string_view body, std::string& scratch, std::string& out) {
  out += content_type;
  out += "Content-Transfer-Encoding: ";
  const size_t start = out.size();
  body = WithLineFeeds(body, scratch);
  const size_t non_ascii = CountNonAscii(body);
  if (non_ascii == 0) {
    out += "7bit\r\n\r\n";
    if (Append7Bit(body, out)) return;
    out.resize(start);
  }
  const auto lines = static_cast<size_t>(std::count(body.begin(), body.end(), '\n'));
  const size_t base64_characters = (body.size() + lines + 2) / 3 * 4;
  const size_t base64_size = base64_characters + base64_characters / kQuotedPrintableLine * 2;
  if (body.size() + lines + 2 * non_ascii <= base64_size) {  // at the least
    out += "quoted-printable\r\n\r\n";
    const size_t quoted = out.size();
    AppendQuotedPrintable(body, out);
    if (out.size() - quoted <= base64_size) return;
    out.resize(start);
  }
  out += "base64\r\n\r\n";
  AppendBase64(body, out);
}

constexpr std::string_view kTextType = "Content-Type: text/plain; charset=utf-8\r\n";
constexpr std::string_view kHtmlType = "Content-Type: text/html; charset=utf-8\r\n";

// What all boundaries of a mail end with: the same for every copy of it, and in none of its texts.
std::array<char, 16> MakeBoundaryDigits(const MailContent& content) {
  uint64_t hash = 14695981039346656037u;  // FNV-1a
  for (const char c : content.message_id) hash = (hash ^ static_cast<unsigned char>(c)) * 1099511628211u;
  std::array<char, 16> digits;
  for (;; ++hash) {
    for (size_t i = 0; i < digits.size(); ++i) digits[i] = kHexDigits[hash >> (4 * i) & 15];
    const std::string_view view(digits.data(), digits.size());
    if (!Contains(content.text, view) && !Contains(content.html, view)) return digits;
  }
}

// Writes a multipart entity (RFC 2046 5.1.1): its header, then a delimiter before each part, then the last.
class Multipart {
 public:
  // `type` is the Content-Type up to the boundary. `mark` makes nested boundaries differ: none begins with another.
  // With
  // "=_" it cannot be in an encoded part either.
  Multipart(std::string_view type, std::string_view mark, std::string_view digits, std::string& out)
      : mark_(mark), digits_(digits), out_(out) {
    out_ += "Content-Type: multipart/";
    out_ += type;
    out_ += " boundary=\"";
    AppendBoundary();
    out_ += "\"\r\n\r\n";
  }

  void BeginPart() {
    out_ += "--";
    AppendBoundary();
    out_ += "\r\n";
  }
  void End() {
    out_ += "--";
    AppendBoundary();
    out_ += "--\r\n";
  }

 private:
  void AppendBoundary() {
    out_ += "=_";
    out_ += mark_;
    out_ += digits_;
  }

  const std::string_view mark_;
  const std::string_view digits_;
  std::string& out_;
};

// The text, the HTML, or both as alternatives.
void AppendTexts(const MailContent& content, std::string_view boundary_digits, std::string& scratch, std::string& out) {
  if (content.html.empty()) return AppendPart(kTextType, content.text, scratch, out);
  if (content.text.empty()) return AppendPart(kHtmlType, content.html, scratch, out);
  Multipart alternative("alternative;", "", boundary_digits, out);
  alternative.BeginPart();
  AppendPart(kTextType, content.text, scratch, out);
  alternative.BeginPart();
  AppendPart(kHtmlType, content.html, scratch, out);
  alternative.End();
}

// `; filename=…` of a Content-Disposition: quoted where that is possible, else by RFC 2231, in pieces that fit a line.
void AppendFilename(std::string_view name, std::string& out) {
  constexpr size_t kLongestQuoted = 60;
  if (IsPlain(name) && name.size() <= kLongestQuoted) {
    out += ";\r\n filename=\"";
    for (const char c : name) {
      if (c == '"' || c == '\\') out += '\\';
      out += c;
    }
    out += '"';
    return;
  }
  constexpr size_t kRoom = kFoldAt - std::string_view(" filename*10*=UTF-8'';").size();
  size_t encoded_size = 0;
  for (const char c : name) encoded_size += Is(c, kParameter) ? 1 : 3;
  const bool in_pieces = encoded_size > kRoom;
  for (size_t at = 0, piece = 0; at < name.size(); ++piece) {
    out += ";\r\n filename*";
    if (in_pieces) out.append(std::to_string(piece)).append("*");
    out += piece == 0 ? "=UTF-8''" : "=";
    for (size_t room = kRoom; at < name.size();) {  // whole code points
      size_t end = at;
      size_t size = 0;
      do {
        size += Is(name[end], kParameter) ? 1 : 3;
        ++end;
      } while (end < name.size() && IsContinuation(name[end]));
      if (size > room) break;
      room -= size;
      for (; at < end; ++at) {
        if (Is(name[at], kParameter)) {
          out += name[at];
        } else {
          AppendHexByte(name[at], out, '%');
        }
      }
    }
  }
}

void AppendFile(const MailFile& file, bool is_inline, std::string& out) {
  out += "Content-Type: ";
  out += file.content_type;
  out += "\r\nContent-Transfer-Encoding: base64\r\nContent-Disposition: ";
  out += is_inline ? "inline" : "attachment";
  AppendFilename(file.filename, out);
  if (!file.content_id.empty()) {
    out += "\r\nContent-ID: <";
    out += file.content_id;
    out += '>';
  }
  out += "\r\n\r\n";
  out.reserve(out.size() + file.base64.size() + file.base64.size() / kBase64Line * 2 + 2);
  for (size_t at = 0; at < file.base64.size(); at += kBase64Line) {
    out += file.base64.substr(at, kBase64Line);
    out += "\r\n";
  }
}

// mixed > related > alternative, each only where it has more than one part. Files that the HTML can show by their
// Content-ID are related to it, all others are beside it.
void AppendBody(const MailContent& content, std::string& scratch, std::string& out) {
  auto belongs_to_html = [&](const MailFile& file) { return !file.content_id.empty() && !content.html.empty(); };
  const bool has_related = std::any_of(content.files.begin(), content.files.end(), belongs_to_html);
  const bool is_mixed = !std::all_of(content.files.begin(), content.files.end(), belongs_to_html);
  const bool has_alternative = !content.html.empty() && !content.text.empty();
  std::array<char, 16> characters{};
  if (has_related || is_mixed || has_alternative) characters = MakeBoundaryDigits(content);
  const std::string_view digits(characters.data(), characters.size());

  std::optional<Multipart> mixed;
  if (is_mixed) {
    mixed.emplace("mixed;", "M", digits, out);
    mixed->BeginPart();
  }
  std::optional<Multipart> related;
  if (has_related) {
    related.emplace(
        has_alternative ? "related; type=\"multipart/alternative\";\r\n" : "related; type=\"text/html\";\r\n", "R",
        digits, out);
    related->BeginPart();
  }
  AppendTexts(content, digits, scratch, out);
  if (related) {
    for (const MailFile& file : content.files) {
      if (!belongs_to_html(file)) continue;
      related->BeginPart();
      AppendFile(file, true, out);
    }
    related->End();
  }
  if (mixed) {
    for (const MailFile& file : content.files) {
      if (belongs_to_html(file)) continue;
      mixed->BeginPart();
      AppendFile(file, false, out);
    }
    mixed->End();
  }
}

Status CheckBody(std::string_view body, const char* what) {
  if (body.find('\0') != std::string_view::npos) return Status::Invalid(std::string(what) + " has a NUL byte in it");
  if (!IsUtf8(body)) return Status::Invalid(std::string(what) + " is not UTF-8");
  return {};
}

Status CheckMailbox(const Mailbox& mailbox, const char* what) {
  if (const char* problem = HeaderTextProblem(mailbox.name)) {
    return Status::Invalid(std::string(what) + "'s display name " + problem);
  }
  if (const char* problem = HeaderTextProblem(mailbox.address)) {
    return Status::Invalid(std::string(what) + "'s address " + problem);
  }
  if (mailbox.address.empty() || mailbox.address.find_first_of("<>, \t") != std::string::npos) {
    return Status::Invalid(std::string(what) + " has no address that can stand in a header (RFC 5322 addr-spec)");
  }
  return {};
}

Status Check(const MailContent& content) {
  if (content.from == nullptr || content.to.empty()) return Status::Invalid("a mail needs a sender and a recipient");
  if (Status status = CheckMailbox(*content.from, "the sender"); !status.ok()) return status;
  for (const auto& mailboxes : {content.to, content.cc, content.reply_to}) {
    for (const Mailbox& mailbox : mailboxes) {
      if (Status status = CheckMailbox(mailbox, "a recipient"); !status.ok()) return status;
    }
  }
  if (const char* problem = HeaderTextProblem(content.subject)) {
    return Status::Invalid(std::string("the subject ") + problem);
  }
  if (const char* problem = HeaderTextProblem(content.message_id)) {
    return Status::Invalid(std::string("the Message-ID ") + problem);
  }
  for (const NamedText& header : content.headers) {
    if (header.name.empty() || !AllAre(header.name, kAtext))
      return Status::Invalid("a header has no name that can be one");
    if (header.value.empty()) return Status::Invalid("the header " + header.name + " is empty");
    if (const char* problem = HeaderTextProblem(header.value)) {
      return Status::Invalid("the header " + header.name + " " + problem);
    }
  }
  for (const MailFile& file : content.files) {
    for (const std::string_view field : {file.filename, file.content_type, file.content_id}) {
      if (const char* problem = HeaderTextProblem(field))
        return Status::Invalid(std::string("a field of a file ") + problem);
    }
    if (file.filename.empty() || file.content_type.empty()) return Status::Invalid("a file needs a name and a type");
    if (!AllAre(file.content_type, kPrintable) || !AllAre(file.content_id, kPrintable)) {
      return Status::Invalid("a file's type or Content-ID is not ASCII");
    }
    if (std::max(file.content_type.size(), file.content_id.size()) > kMaxLine / 2) {
      return Status::Invalid("a file's type or Content-ID is too long for a line");
    }
  }
  if (Status status = CheckBody(content.text, "the text part"); !status.ok()) return status;
  return CheckBody(content.html, "the HTML part");
}

}  // namespace

Status MimeComposer::Compose(const MailContent& content, std::string& out) {
  out.clear();
  if (Status status = Check(content); !status.ok()) return status;
  const std::chrono::sys_time<std::chrono::milliseconds> date{std::chrono::milliseconds(content.date_unix_ms)};
  if (date < std::chrono::sys_days(std::chrono::year(1000) / 1 / 1) ||
      date >= std::chrono::sys_days(std::chrono::year(10000) / 1 / 1)) {
    return Status::Invalid("the date has no year of four digits");
  }

  AppendDate(date, out);
  AppendMailboxes("From:", {content.from, 1}, out);
  AppendMailboxes("To:", content.to, out);
  if (!content.cc.empty()) AppendMailboxes("Cc:", content.cc, out);
  if (!content.reply_to.empty()) AppendMailboxes("Reply-To:", content.reply_to, out);
  out += "Message-ID: ";
  out += content.message_id;
  out += "\r\n";
  AppendSubject(content.subject, out);
  for (const NamedText& header : content.headers) AppendHeader(header, out);
  out += "MIME-Version: 1.0\r\nAuto-Submitted: auto-generated\r\n";  // RFC 3834: no vacation replies, please
  is_7bit_ = CountNonAscii(out) == 0;
  AppendBody(content, scratch_, out);
  return {};
}

void AppendMessageId(std::string_view event_id, std::string_view domain, std::string& out) {
  out += '<';
  for (size_t i = 0; i < event_id.size(); ++i) {
    const char c = event_id[i];
    // A dot only between two others; "=" itself, so that no two ids become one.
    const bool dot = c == '.' && i > 0 && i + 1 < event_id.size() && event_id[i - 1] != '.';
    if (dot || (Is(c, kAtext) && c != '=')) {
      out += c;
    } else {
      AppendHexByte(c, out);
    }
  }
  out += '@';
  out += domain;
  out += '>';
}

}  // namespace postbus
