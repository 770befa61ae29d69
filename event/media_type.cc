#include "event/media_type.h"

#include "event/text.h"

namespace postbus {
namespace {

// RFC 2045 token: printable ASCII but blanks and tspecials.
bool IsTokenCharacter(char c) {
  constexpr std::string_view kSpecials = "()<>@,;:\\\"/[]?=";
  return c > ' ' && c < '\x7F' && kSpecials.find(c) == std::string_view::npos;
}

bool TakeToken(std::string_view& text) {
  size_t size = 0;
  while (size < text.size() && IsTokenCharacter(text[size])) ++size;
  text.remove_prefix(size);
  return size > 0;
}

bool Take(char c, std::string_view& text) {
  if (!text.starts_with(c)) return false;
  text.remove_prefix(1);
  return true;
}

// Without escapes: nobody needs them here.
bool TakeQuotedString(std::string_view& text) {
  if (!Take('"', text)) return false;
  while (!text.empty() && text.front() >= ' ' && text.front() < '\x7F' && text.front() != '"' && text.front() != '\\') {
    text.remove_prefix(1);
  }
  return Take('"', text);
}

void SkipSpaces(std::string_view& text) {
  while (Take(' ', text)) {
  }
}

}  // namespace

bool IsMediaType(std::string_view text) {
  if (!TakeToken(text) || !Take('/', text) || !TakeToken(text)) return false;
  while (!text.empty()) {
    SkipSpaces(text);
    if (!Take(';', text)) return false;
    SkipSpaces(text);
    if (!TakeToken(text) || !Take('=', text) || !(TakeToken(text) || TakeQuotedString(text))) return false;
  }
  return true;
}

std::string_view MediaTypeOf(std::string_view filename) {
  struct Ending {
    std::string_view ending;
    std::string_view type;
  };
  constexpr Ending kEndings[] = {
      {"pdf", "application/pdf"},
      {"png", "image/png"},
      {"jpg", "image/jpeg"},
      {"jpeg", "image/jpeg"},
      {"gif", "image/gif"},
      {"svg", "image/svg+xml"},
      {"webp", "image/webp"},
      {"txt", "text/plain"},
      {"csv", "text/csv"},
      {"html", "text/html"},
      {"ics", "text/calendar"},
      {"vcf", "text/vcard"},
      {"json", "application/json"},
      {"xml", "application/xml"},
      {"zip", "application/zip"},
      {"docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document"},
      {"xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"},
      {"pptx", "application/vnd.openxmlformats-officedocument.presentationml.presentation"},
  };
  const size_t dot = filename.rfind('.');
  if (dot != std::string_view::npos) {
    for (const Ending& known : kEndings) {
      if (EqualIgnoringCase(filename.substr(dot + 1), known.ending)) return known.type;
    }
  }
  return "application/octet-stream";
}

}  // namespace postbus
