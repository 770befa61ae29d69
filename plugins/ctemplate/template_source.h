// plugins/ctemplate/template_source.h - one part of a mail template (html.tpl) read into markers and text, partials put
// in where they are included. What ctemplate would take silently or refuse without a reason is refused here with file
// and line. Functions, called while an instance is made; they throw std::runtime_error.
#pragma once

#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace postbus::templates {

// What is put before the name of a variable that begins a URL attribute: the dictionary escapes it (see UrlText there),
// and not ctemplate. No template may use such a name.
inline constexpr std::string_view kUrlPrefix = "POSTBUS_URL_";

enum class PartKind { kSubject, kText, kHtml };

struct Token {
  enum class Kind { kText, kVariable, kSectionStart, kSectionEnd };
  Kind kind;
  std::string text = {};      // the text, or the name in the marker
  std::string modifier = {};  // of a variable; empty, ":url_query_escape" or ":none"
  size_t file = 0;            // index into Source::files
  size_t line = 0;            // of its first character
};

struct Source {
  std::vector<std::filesystem::path> files;  // the part itself, then partials
  std::vector<Token> tokens;                 // sections are balanced

  // "templates/welcome/html.tpl:12"
  std::string Where(const Token& token) const;
};

// Reads `part`, which lies below `directory`. No file outside of `directory` is read, whatever the links in it say.
// REQUIRES: `directory` is canonical.
Source ReadSource(const std::filesystem::path& directory, const std::filesystem::path& part, PartKind kind);

// What ctemplate understands: the first `n_tokens` tokens, sections left open by them closed.
std::string ToCtemplate(const Source& source, PartKind kind, size_t n_tokens);

// Names of templates and partials: [a-z0-9][a-z0-9._-]*, at most 128 bytes, no "..".
bool IsName(std::string_view name);

}  // namespace postbus::templates
