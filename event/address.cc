#include "event/address.h"

#include <cstdint>

#include "event/text.h"

namespace postbus {
namespace {

constexpr size_t kMaxLocalPartBytes = 64;  // RFC 5321 4.5.3.1
constexpr size_t kMaxLabelBytes = 63;      // RFC 1035 2.3.4
constexpr size_t kMaxAddressBytes = 254;   // RFC 5321: a path of 256 less its brackets
constexpr size_t kMaxMailboxBytes = 998;   // RFC 5322 2.1.1: one line

bool IsAlphanumeric(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9'); }
bool IsNonAscii(char c) { return static_cast<unsigned char>(c) >= 0x80; }

// RFC 5322 atext, with the UTF-8 of RFC 6532. Controls and invalid UTF-8 are found before.
bool IsAtext(char c) {
  constexpr std::string_view kSymbols = "!#$%&'*+-/=?^_`{|}~";
  return IsAlphanumeric(c) || IsNonAscii(c) || kSymbols.find(c) != std::string_view::npos;
}

std::string_view TrimSpaces(std::string_view text) {
  const size_t first = text.find_first_not_of(' ');
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(' ') - first + 1);
}

char Lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : c; }

bool StartsWithIgnoringCase(std::string_view text, std::string_view lower_case_prefix) {
  if (text.size() < lower_case_prefix.size()) return false;
  for (size_t i = 0; i < lower_case_prefix.size(); ++i) {
    if (Lower(text[i]) != lower_case_prefix[i]) return false;
  }
  return true;
}

// Somebody behind us may decode percent escapes: no CR, LF or NUL may appear then.
bool HasEncodedControl(std::string_view text) {
  for (size_t at = text.find('%'); at != std::string_view::npos; at = text.find('%', at + 1)) {
    const std::string_view rest = text.substr(at);
    if (StartsWithIgnoringCase(rest, "%0d") || StartsWithIgnoringCase(rest, "%0a") || rest.starts_with("%00")) {
      return true;
    }
  }
  return false;
}

const char* LocalPartProblem(std::string_view local) {
  if (local.empty()) return "the part before the @ is empty";
  if (local.size() > kMaxLocalPartBytes) return "the part before the @ is longer than 64 bytes";
  if (local.front() == '"') return "a quoted local part is not supported";
  char previous = '.';
  for (const char c : local) {
    if (c == '.' ? previous == '.' : !IsAtext(c)) return "the part before the @ is no dot-atom";
    previous = c;
  }
  return previous == '.' ? "the part before the @ is no dot-atom" : nullptr;
}

const char* DomainProblem(std::string_view domain) {
  if (domain.starts_with('[')) return "an address literal is not supported";
  while (true) {
    const std::string_view label = domain.substr(0, domain.find('.'));
    if (label.empty()) return "a label of the domain is empty";
    if (label.size() > kMaxLabelBytes) return "a label of the domain is longer than 63 bytes";
    if (label.front() == '-' || label.back() == '-') return "a label of the domain begins or ends with a hyphen";
    for (const char c : label) {
      if (!IsAlphanumeric(c) && !IsNonAscii(c) && c != '-') return "the domain is no host name";
    }
    if (label.size() == domain.size()) return nullptr;
    domain.remove_prefix(label.size() + 1);
  }
}

const char* AddressProblem(std::string_view address) {
  const size_t at = address.find('@');
  if (at == std::string_view::npos) return "";  // nothing to add to "is not an address"
  if (address.find('@', at + 1) != std::string_view::npos) return "it has more than one @";
  if (address.size() > kMaxAddressBytes) return "it is longer than 254 bytes";
  if (const char* problem = LocalPartProblem(address.substr(0, at))) return problem;
  return DomainProblem(address.substr(at + 1));
}

// Splits `text` into display name and addr-spec. Returns what is wrong, or nullptr.
const char* Split(std::string_view text, std::string& name, std::string_view& address) {
  constexpr const char* kNoBracket = "after the display name there is no <address>";
  name.clear();
  if (!text.ends_with('>')) {
    address = text;
    return nullptr;
  }
  text.remove_suffix(1);
  if (text.starts_with('"')) {
    size_t at = 1;
    for (; at < text.size() && text[at] != '"'; ++at) {
      if (text[at] == '\\' && ++at == text.size()) break;
      name += text[at];
    }
    if (at >= text.size()) return "the quoted display name does not end";
    text.remove_prefix(at + 1);
    text = TrimSpaces(text);
    if (!text.starts_with('<')) return kNoBracket;
    address = text.substr(1);
    return nullptr;
  }
  const size_t bracket = text.find('<');
  if (bracket == std::string_view::npos) return kNoBracket;
  name = TrimSpaces(text.substr(0, bracket));
  if (name.find_first_of("\">,;@\\") != std::string::npos)
    return "a display name with one of \" > , ; @ \\ needs quotes";
  address = text.substr(bracket + 1);
  return nullptr;
}

const char* MailboxProblem(std::string_view text, Mailbox& mailbox) {
  if (text.size() > kMaxMailboxBytes) return "it is longer than 998 bytes";
  if (const char* problem = HeaderTextProblem(text)) return problem;
  if (text.find('\t') != std::string_view::npos) return "it has a control character in it";
  if (HasEncodedControl(text)) return "it has an encoded control character (%0d, %0a or %00) in it";
  std::string_view address;
  if (const char* problem = Split(TrimSpaces(text), mailbox.name, address)) return problem;
  if (const char* problem = AddressProblem(address)) return problem;
  mailbox.address = address;
  return nullptr;
}

}  // namespace

Status ParseMailbox(std::string_view text, Mailbox& mailbox) {
  const char* problem = MailboxProblem(text, mailbox);
  if (problem == nullptr) return {};
  std::string message = Quoted(text) + " is not an address (RFC 5322 addr-spec)";
  if (*problem != '\0') message.append(": ").append(problem);
  return Status::Invalid(std::move(message));
}

Result<Mailbox> ParseMailbox(std::string_view text) {
  Mailbox mailbox;
  if (Status status = ParseMailbox(text, mailbox); !status.ok()) return status;
  return mailbox;
}

const char* HeaderTextProblem(std::string_view text) {
  for (size_t at = 0; at < text.size();) {
    const auto c = static_cast<unsigned char>(text[at]);
    if (c == '%' && StartsWithIgnoringCase(text.substr(at), "%0d%0a")) {
      return "has an encoded line break (%0d%0a) in it";
    }
    if ((c >= 0x20 && c < 0x7F) || c == '\t') {
      ++at;
      continue;
    }
    if (c == '\r' || c == '\n') return "has a line break in it";
    const size_t size = Utf8SequenceSize(text.substr(at));
    if (size == 0) return "is not UTF-8";
    if (IsControl(text.substr(at, size))) return "has a control character in it";
    at += size;
  }
  return nullptr;
}

}  // namespace postbus
