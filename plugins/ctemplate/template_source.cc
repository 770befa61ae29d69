#include "template_source.h"

#include <rapidjson/encodings.h>
#include <rapidjson/memorystream.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <system_error>

namespace postbus::templates {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMaxNameBytes = 128;
constexpr size_t kMaxFileBytes = 1 << 20;
constexpr size_t kMaxSourceBytes = 4 << 20;  // with every partial put in
constexpr size_t kMaxIncludeDepth = 16;
constexpr std::string_view kOpen = "{{";
constexpr std::string_view kClose = "}}";

bool IsAlphanumeric(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9'); }
bool IsBlank(char c) { return c == ' ' || c == '\t'; }

bool IsMarkerName(std::string_view name) {
  return !name.empty() && std::all_of(name.begin(), name.end(), [](char c) { return IsAlphanumeric(c) || c == '_'; });
}

// At most 64 bytes of a marker, on one line, for messages.
std::string Quoted(std::string_view text) {
  std::string quoted(text.substr(0, 64));
  std::replace_if(
      quoted.begin(), quoted.end(), [](char c) { return static_cast<unsigned char>(c) < 0x20; }, ' ');
  return '"' + quoted + (text.size() > 64 ? "…\"" : "\"");
}

bool IsUtf8(std::string_view text) {
  struct Nowhere {
    void Put(char) {}
  } nowhere;
  rapidjson::MemoryStream stream(text.data(), text.size());
  while (stream.Tell() < text.size()) {
    if (!rapidjson::UTF8<>::Validate(stream, nowhere)) return false;
  }
  return true;
}

// With LF line ends.
std::string ReadFile(const fs::path& directory, const fs::path& path) {
  std::error_code error;
  const fs::path real = fs::canonical(path, error);
  if (error) throw std::runtime_error(path.string() + ": cannot be read: " + error.message());
  const auto [mismatch, unused] = std::mismatch(directory.begin(), directory.end(), real.begin(), real.end());
  if (mismatch != directory.end()) {
    throw std::runtime_error(path.string() + ": is a link that leads out of " + directory.string() +
                             "; copy the file into the templates' directory");
  }
  if (!fs::is_regular_file(real, error)) throw std::runtime_error(path.string() + ": is not a file");
  if (fs::file_size(real) > kMaxFileBytes) throw std::runtime_error(path.string() + ": is larger than 1 MiB");
  std::ifstream stream(real, std::ios::binary);
  std::string text{std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>()};
  if (!stream) throw std::runtime_error(path.string() + ": cannot be read");
  if (text.find('\0') != std::string::npos) throw std::runtime_error(path.string() + ": has a NUL byte in it");
  if (!IsUtf8(text)) throw std::runtime_error(path.string() + ": is not UTF-8");
  if (text.starts_with("\xEF\xBB\xBF")) text.erase(0, 3);
  for (size_t at = text.find("\r\n"); at != std::string::npos; at = text.find("\r\n", at)) text.erase(at, 1);
  return text;
}

class Reader {
 public:
  Reader(const fs::path& directory, PartKind kind) : directory_(directory), kind_(kind) {}

  void Read(const fs::path& path) {
    if (depth_ == kMaxIncludeDepth) throw std::runtime_error(path.string() + ": is included by itself");
    ++depth_;
    const size_t file = FileIndex(path);
    const std::string text = ReadFile(directory_, path);
    bytes_ += text.size();
    if (bytes_ > kMaxSourceBytes) throw std::runtime_error(path.string() + ": the template is larger than 4 MiB");
    ReadMarkers(text, file);
    --depth_;
  }

  Source TakeSource() { return std::move(source_); }

 private:
  size_t FileIndex(const fs::path& path) {
    const auto found = std::find(source_.files.begin(), source_.files.end(), path);
    if (found == source_.files.end()) {
      source_.files.push_back(path);
      return source_.files.size() - 1;
    }
    return static_cast<size_t>(found - source_.files.begin());
  }

  void ReadMarkers(std::string_view text, size_t file) {
    std::vector<Token> open;  // sections of this file
    size_t known_at = 0;
    size_t known_line = 1;
    auto line_of = [&](size_t at) {
      known_line += at >= known_at ? Lines(text.substr(known_at, at - known_at)) : 0;
      known_line -= at < known_at ? Lines(text.substr(at, known_at - at)) : 0;
      known_at = at;
      return known_line;
    };
    auto add_text = [&](size_t start, size_t end) {
      if (start >= end) return;
      source_.tokens.push_back({.kind = Token::Kind::kText,
                                .text = std::string(text.substr(start, end - start)),
                                .file = file,
                                .line = line_of(start)});
    };

    size_t at = 0;          // where the search goes on
    size_t text_start = 0;  // behind `at` where a marker has used up its line
    while (true) {
      size_t marker = text.find(kOpen, at);
      if (marker == std::string_view::npos) break;
      while (text.substr(marker + 1).starts_with(kOpen)) ++marker;  // of "{{{NAME}}" the first brace is text
      const Token here{.kind = Token::Kind::kText, .file = file, .line = line_of(marker)};
      const size_t close = text.find(kClose, marker + kOpen.size());
      if (close == std::string_view::npos) Fail(here, "a marker begins here that no }} ends");
      const std::string_view content = text.substr(marker + kOpen.size(), close - marker - kOpen.size());
      at = close + kClose.size();
      size_t text_end = marker;
      size_t next_text = at;
      if (content.find_first_of("#/!>%") == 0) UseUpLine(text, text_end, next_text);
      add_text(text_start, text_end);
      AddMarker(content, here, open);
      text_start = next_text;
    }
    add_text(text_start, text.size());
    if (!open.empty()) Fail(open.back(), "section " + Quoted(open.back().text) + " is not closed in this file");
  }

  static size_t Lines(std::string_view text) { return static_cast<size_t>(std::count(text.begin(), text.end(), '\n')); }

  // A section, comment, partial or pragma alone on its line leaves no empty line behind, as in Mustache.
  static void UseUpLine(std::string_view text, size_t& marker_start, size_t& marker_end) {
    size_t start = marker_start;
    while (start > 0 && IsBlank(text[start - 1])) --start;
    if (start > 0 && text[start - 1] != '\n') return;
    size_t end = marker_end;
    while (end < text.size() && IsBlank(text[end])) ++end;
    if (end < text.size() && text[end] != '\n') return;
    marker_start = start;
    marker_end = std::min(end + 1, text.size());
  }

  void AddMarker(std::string_view content, Token token, std::vector<Token>& open) {
    const char type = content.empty() ? '\0' : content.front();
    const std::string_view name = content.substr(content.empty() ? 0 : 1);
    switch (type) {
      case '!':
        return;
      case '%':
        if (kind_ != PartKind::kHtml || name != "AUTOESCAPE context=\"HTML\"") {
          Fail(token, Quoted(content) + ": HTML is always escaped for HTML, subject and text never; remove the marker");
        }
        return;
      case '=':
        Fail(token, "other delimiters than {{ and }} are not supported");
      case '>':
        if (!IsName(name)) {
          Fail(token, Quoted(name) + " is not the name of a partial: {{>footer}} stands for _partials/footer.tpl");
        }
        Include(name, token);
        return;
      case '#':
      case '/':
        if (!IsMarkerName(name)) FailName(token, name);
        token.kind = type == '#' ? Token::Kind::kSectionStart : Token::Kind::kSectionEnd;
        token.text = name;
        if (type == '#') {
          open.push_back(token);
        } else if (open.empty() || open.back().text != name) {
          Fail(token, "{{/" + token.text + "}} closes a section that is not open here" +
                          (open.empty() ? "" : "; {{#" + open.back().text + "}} is"));
        } else {
          open.pop_back();
        }
        break;
      default: {
        const size_t colon = std::min(content.find(':'), content.size());
        token.kind = Token::Kind::kVariable;
        token.text = content.substr(0, colon);
        if (!IsMarkerName(token.text)) FailName(token, token.text);
        if (token.text.starts_with(kUrlPrefix)) Fail(token, "names that begin with POSTBUS_URL_ are not for templates");
        const std::string_view modifier = content.substr(colon);
        if (modifier == ":u" || modifier == ":url_query_escape") {
          token.modifier = ":url_query_escape";
        } else if (!modifier.empty()) {
          Fail(token, "modifier " + Quoted(modifier) +
                          " is not supported: HTML is escaped by itself; only :u (a value inside of a URL's query) may "
                          "be added");
        }
      }
    }
    source_.tokens.push_back(std::move(token));
  }

  void Include(std::string_view name, const Token& token) {
    const fs::path path = directory_ / "_partials" / (std::string(name) + ".tpl");
    std::error_code error;
    if (!fs::exists(path, error)) Fail(token, "there is no partial " + path.string());
    Read(path);
  }

  [[noreturn]] void Fail(const Token& token, const std::string& reason) const {
    throw std::runtime_error(source_.Where(token) + ": " + reason);
  }
  [[noreturn]] void FailName(const Token& token, std::string_view name) const {
    Fail(token, Quoted(name) + " is not a name: only letters, digits and _ may stand in a marker; {{order.id}} is " +
                    "{{#order}}{{id}}{{/order}}");
  }

  const fs::path& directory_;
  const PartKind kind_;
  Source source_;
  size_t depth_ = 0;
  size_t bytes_ = 0;
};

}  // namespace

std::string Source::Where(const Token& token) const {
  return files[token.file].string() + ":" + std::to_string(token.line);
}

Source ReadSource(const fs::path& directory, const fs::path& part, PartKind kind) {
  Reader reader(directory, kind);
  reader.Read(part);
  Source source = reader.TakeSource();
  if (kind != PartKind::kSubject) return source;

  // The file's last line end is no part of the subject; nothing else may be on a line of its own.
  std::vector<Token>& tokens = source.tokens;
  auto is_text = [](const Token& token) { return token.kind == Token::Kind::kText; };
  if (!tokens.empty() && is_text(tokens.back())) {
    std::string& last = tokens.back().text;
    last.erase(last.find_last_not_of(" \t\n") + 1);
  }
  for (const Token& token : tokens) {
    if (is_text(token) && token.text.find_first_of("\r\n") != std::string::npos) {
      throw std::runtime_error(source.Where(token) + ": a subject is one line");
    }
  }
  return source;
}

std::string ToCtemplate(const Source& source, PartKind kind, size_t n_tokens) {
  std::string text = kind == PartKind::kHtml ? "{{%AUTOESCAPE context=\"HTML\"}}" : "";
  std::vector<std::string_view> open;
  auto close = [&](std::string_view name) { text.append("{{/").append(name).append("}}"); };
  for (size_t i = 0; i < n_tokens; ++i) {
    const Token& token = source.tokens[i];
    switch (token.kind) {
      case Token::Kind::kText:
        text += token.text;
        break;
      case Token::Kind::kVariable:
        text.append("{{").append(token.text).append(token.modifier).append("}}");
        break;
      case Token::Kind::kSectionStart:
        text.append("{{#").append(token.text).append("}}");
        open.push_back(token.text);
        break;
      case Token::Kind::kSectionEnd:
        close(token.text);
        open.pop_back();
        break;
    }
  }
  for (; !open.empty(); open.pop_back()) close(open.back());
  return text;
}

bool IsName(std::string_view name) {
  auto lower = [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); };
  return !name.empty() && name.size() <= kMaxNameBytes && lower(name.front()) &&
         name.find("..") == std::string_view::npos &&
         std::all_of(name.begin(), name.end(), [&](char c) { return lower(c) || c == '.' || c == '_' || c == '-'; });
}

}  // namespace postbus::templates
