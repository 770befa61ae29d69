#include "plugins/smtp/verdict.h"

#include <algorithm>
#include <array>

#include "postbus/abi/outcome.h"
#include "postbus/ascii.hpp"

namespace postbus::smtp {
namespace {

constexpr size_t kMaxWords = 512;
constexpr size_t kMaxId = 128;
constexpr std::string_view kAddress = "<address>";

size_t FindNoCase(std::string_view text, std::string_view lower) {
  const auto found = std::search(text.begin(), text.end(), lower.begin(), lower.end(),
                                 [](char a, char b) { return sdk::Lower(a) == b; });
  return found == text.end() ? std::string_view::npos : static_cast<size_t>(found - text.begin());
}

bool IsIdChar(char c) {
  return (c >= '0' && c <= '9') || (sdk::Lower(c) >= 'a' && sdk::Lower(c) <= 'z') ||
         std::string_view("-_.+/=:").find(c) != std::string_view::npos;
}

// An id: up to 128 bytes with a digit among them ("queued as spam" has none), and no address.
std::string_view TakeId(std::string_view text) {
  size_t size = 0;
  while (size < text.size() && IsIdChar(text[size])) ++size;
  if (size < text.size() && text[size] == '@') return {};
  while (size > 0 && (text[size - 1] == '.' || text[size - 1] == ':')) --size;
  const std::string_view id = text.substr(0, size);
  const bool digit = std::any_of(id.begin(), id.end(), [](char c) { return c >= '0' && c <= '9'; });
  return digit && size <= kMaxId ? id : std::string_view();
}

// A positive completion; 220 and 221 say hello and goodbye, not yes.
bool IsYes(uint16_t code) { return code / 100 == 2 && code != 220 && code != 221; }

// What a refusal of `MAIL`, `RCPT` or `DATA` means where it does not depend on the mail; 0: it does.
int32_t OutcomeOfSession(uint16_t code) {
  switch (code) {
    case 500:  // command not recognised
    case 502:  // not implemented
    case 503:  // bad sequence of commands
    case 521:  // takes no mail at all (RFC 7504)
    case 530:  // authentication or STARTTLS required
    case 535:  // authentication failed
    case 538:  // encryption required
      return POSTBUS_PROVIDER_FAULT;
    case 504:  // parameter not implemented
    case 555:  // parameters not recognised
      return POSTBUS_UNSUPPORTED;
    default:
      return 0;
  }
}

// Bytes of the UTF-8 sequence at the front of `text`, 0: none. Tells what may be printed from what may not; overlong
// and surrogate forms pass for none.
size_t Utf8Size(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char first = byte(0);
  const size_t size = first < 0x80 ? 1 : first < 0xC2 ? 0 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : first < 0xF5 ? 4 : 0;
  if (size == 0 || size > text.size()) return 0;
  for (size_t i = 1; i < size; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return 0;
  }
  if (first == 0xE0 && byte(1) < 0xA0) return 0;
  if (first == 0xED && byte(1) > 0x9F) return 0;
  if (first == 0xF0 && byte(1) < 0x90) return 0;
  if (first == 0xF4 && byte(1) > 0x8F) return 0;
  return size;
}

}  // namespace

int32_t OutcomeOfReply(int32_t phase, const Reply& reply) {
  const uint16_t code = reply.code;
  const int kind = code / 100;
  switch (phase) {
    case POSTBUS_PHASE_GREETING:
      return code == 220 ? POSTBUS_ACCEPTED : POSTBUS_PROVIDER_FAULT;
    case POSTBUS_PHASE_EHLO:
      return IsYes(code) ? POSTBUS_ACCEPTED : POSTBUS_PROVIDER_FAULT;

    case POSTBUS_PHASE_MAIL:
    case POSTBUS_PHASE_RCPT:
    case POSTBUS_PHASE_DATA: {
      const bool data = phase == POSTBUS_PHASE_DATA;
      if (code == 421) return POSTBUS_NOT_SENT;
      if (kind == 4) return POSTBUS_TRANSIENT;
      if (kind == 5) {
        if (phase == POSTBUS_PHASE_RCPT && IsTooManyRecipients(reply)) return POSTBUS_TRANSIENT;
        if (const int32_t outcome = OutcomeOfSession(code); outcome != 0) return outcome;
        return phase == POSTBUS_PHASE_RCPT ? POSTBUS_REJECTED_RECIPIENT : POSTBUS_REJECTED_MESSAGE;
      }
      return (data ? code == 354 : IsYes(code)) ? POSTBUS_ACCEPTED : 0;
    }

    case POSTBUS_PHASE_BODY:  // a reply in the middle of the mail: only a refusal makes sense
      if (code == 421) return POSTBUS_NOT_SENT;
      return kind == 4 ? POSTBUS_TRANSIENT : kind == 5 ? POSTBUS_REJECTED_MESSAGE : 0;

    case POSTBUS_PHASE_FINAL_DOT:
      if (IsYes(code)) return POSTBUS_ACCEPTED;
      return kind == 4 ? POSTBUS_TRANSIENT : kind == 5 ? POSTBUS_REJECTED_MESSAGE : 0;
    default:
      return 0;
  }
}

int32_t OutcomeOfLoss(int32_t phase) {
  switch (phase) {
    case POSTBUS_PHASE_CONNECT:
    case POSTBUS_PHASE_GREETING:
    case POSTBUS_PHASE_EHLO:
      return POSTBUS_PROVIDER_FAULT;
    case POSTBUS_PHASE_FINAL_DOT:
      return POSTBUS_IN_DOUBT;
    default:
      return POSTBUS_NOT_SENT;
  }
}

bool IsTooManyRecipients(const Reply& reply) {
  // RFC 5321 4.5.3.1.10: 452, and 552 from old servers. With an enhanced code that says something else (x.2.2 mailbox
  // full, x.3.1 system full) it is not about the number.
  if (reply.code != 452 && reply.code != 552) return false;
  return reply.enhanced[0] == 0 || (reply.enhanced[1] == 5 && reply.enhanced[2] == 3);
}

void AppendWords(std::string_view text, std::string& out) {
  const size_t begin = out.size();
  const auto full = [&](size_t more) { return out.size() - begin + more > kMaxWords; };
  while (!text.empty()) {
    // An address may have blanks in <> ("<"a b"@c>"), else it ends at a blank.
    size_t word = text.find_first_of(" \t\n");
    if (word == std::string_view::npos) word = text.size();
    const size_t open = text.substr(0, word).find('<');
    if (open != std::string_view::npos) {
      const size_t close = text.find('>', open);
      const size_t line = text.find('\n', open);
      if (close != std::string_view::npos && close > word && close < line) {
        word = text.find_first_of(" \t\n", close);
        if (word == std::string_view::npos) word = text.size();
      }
    }
    std::string_view piece = text.substr(0, word);
    text.remove_prefix(std::min(word + 1, text.size()));
    if (piece.empty()) continue;
    if (full(1)) break;
    if (out.size() > begin) out.push_back(' ');
    if (piece.find('@') != std::string_view::npos) {
      if (full(kAddress.size())) break;
      out.append(kAddress);
      continue;
    }
    while (!piece.empty()) {
      const size_t size = std::max<size_t>(Utf8Size(piece), 1);
      const bool control = Utf8Size(piece) == 0 ||
                           (size == 1 && (static_cast<unsigned char>(piece[0]) < 0x20 || piece[0] == 0x7F)) ||
                           (size == 2 && piece[0] == '\xC2' && static_cast<unsigned char>(piece[1]) < 0xA0);
      if (full(size)) {
        text = {};
        break;
      }
      out.append(control ? std::string_view("?") : piece.substr(0, size));
      piece.remove_prefix(size);
    }
  }
  if (out.size() > begin && out.back() == ' ') out.pop_back();
}

std::string_view ProviderId(std::string_view text) {
  // "queued as 4F2" (Postfix, smtp-sink's kin), "Queued mail" with InternalId=1 (Exchange), "id=1abc-000" (Exim),
  // "queued (550e…)" (Haraka).
  for (const std::string_view before : {"queued as ", "internalid=", "id=", "ids=", "queued ("}) {
    const size_t found = FindNoCase(text, before);
    if (found == std::string_view::npos) continue;
    if (const std::string_view id = TakeId(text.substr(found + before.size())); !id.empty()) return id;
  }
  // "v1x2 Message accepted for delivery" (Sendmail, OpenSMTPD).
  const size_t accepted = FindNoCase(text, " message accepted");
  if (accepted != std::string_view::npos) {
    std::string_view id = text.substr(0, accepted);
    id = id.substr(id.find_last_of(" :") + 1);
    if (TakeId(id) == id) return id;
  }
  // "Ok 0100018c-…" (Amazon SES).
  if (text.size() > 3 && FindNoCase(text.substr(0, 3), "ok ") == 0) {
    const std::string_view id = text.substr(3);
    if (id.size() >= 16 && TakeId(id) == id) return id;
  }
  return {};
}

}  // namespace postbus::smtp
