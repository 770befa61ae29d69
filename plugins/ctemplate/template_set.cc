#include "template_set.h"

#include <ctemplate/template_dictionary_interface.h>
#include <ctemplate/template_emitter.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <stdexcept>
#include <system_error>

namespace postbus::templates {
namespace {

namespace fs = std::filesystem;
using ctemplate::TemplateString;

// Finds out which variables ctemplate's HTML parser takes for the beginning of a URL: expanded with kProbe, only those
// come out as what ctemplate puts in the place of a bad URL. Every section is shown once, so variables are asked for in
// their order in the template.
class UrlProbe final : public ctemplate::TemplateDictionaryInterface, public ctemplate::ExpandEmitter {
 public:
  // One entry a variable.
  const std::vector<bool>& is_url() const { return is_url_; }

 private:
  static constexpr std::string_view kProbe = "mailto:x";

  TemplateString GetValue(const TemplateString&) const override {
    asked_ = true;
    return {kProbe.data(), kProbe.size()};
  }
  bool IsHiddenSection(const TemplateString&) const override { return false; }
  bool IsUnhiddenSection(const TemplateString&) const override { return true; }
  Iterator* CreateSectionIterator(const TemplateString&) const override { return new NoItems; }
  void DumpToString(std::string*, int) const override {}
  bool IsHiddenTemplate(const TemplateString&) const override { return true; }
  const char* GetIncludeTemplateName(const TemplateString&, int) const override { return ""; }
  Iterator* CreateTemplateIterator(const TemplateString&) const override { return new NoItems; }

  void Emit(char c) override { Emit(&c, 1); }
  void Emit(const std::string& s) override { Emit(s.data(), s.size()); }
  void Emit(const char* s) override { Emit(s, std::char_traits<char>::length(s)); }
  void Emit(const char* s, size_t size) override {
    if (!asked_ || size == 0) return;
    asked_ = false;
    is_url_.push_back(*s == '#' || *s == '/');  // of "#" and "/images/cleardot.gif"
  }

  class NoItems final : public Iterator {
   public:
    bool HasNext() const override { return false; }
    const TemplateDictionaryInterface& Next() override { std::abort(); }  // never called: there is no next
  };

  mutable bool asked_ = false;
  std::vector<bool> is_url_;
};

std::unique_ptr<ctemplate::Template> Compile(const Source& source, PartKind kind, size_t n_tokens) {
  const std::string text = ToCtemplate(source, kind, n_tokens);
  // Not into a TemplateCache: its lock would be taken at every rendering.
  return std::unique_ptr<ctemplate::Template>(
      ctemplate::Template::StringToTemplate({text.data(), text.size()}, ctemplate::DO_NOT_STRIP));
}

// ctemplate refuses without telling where: the first token it does not get past is it.
[[noreturn]] void FailAtRefusedToken(const Source& source, PartKind kind) {
  for (size_t n = 1; n <= source.tokens.size(); ++n) {
    if (Compile(source, kind, n) != nullptr) continue;
    const Token& token = source.tokens[n - 1];
    if (token.kind != Token::Kind::kVariable) {
      throw std::runtime_error(source.Where(token) +
                               ": the HTML from here on cannot be understood; see that every tag, "
                               "attribute and quote is closed");
    }
    throw std::runtime_error(source.Where(token) + ": {{" + token.text +
                             "}} stands where no value can be escaped "
                             "safely; put attribute values into quotes, e.g. href=\"{{" +
                             token.text + "}}\"");
  }
  throw std::runtime_error(source.files[0].string() + ": ctemplate refuses it");
}

Part MakePart(Source source, PartKind kind) {
  auto compile = [&] {
    auto compiled = Compile(source, kind, source.tokens.size());
    if (compiled == nullptr) FailAtRefusedToken(source, kind);
    return compiled;
  };
  Part part{.compiled = compile(), .source_bytes = ToCtemplate(source, kind, source.tokens.size()).size()};
  if (kind != PartKind::kHtml) return part;

  UrlProbe probe;
  part.compiled->ExpandWithData(&probe, &probe, nullptr);
  size_t variable = 0;
  for (Token& token : source.tokens) {
    if (token.kind != Token::Kind::kVariable) continue;
    if (variable < probe.is_url().size() && probe.is_url()[variable]) {
      token.text.insert(0, kUrlPrefix);
      token.modifier = ":none";
    }
    ++variable;
  }
  if (variable != probe.is_url().size()) {
    throw std::runtime_error(source.files[0].string() +
                             ": its variables could not be told apart (a defect of postbus)");
  }
  part.compiled = compile();
  return part;
}

MailTemplate ReadTemplate(const fs::path& root, const fs::path& directory) {
  struct {
    const char* file;
    PartKind kind;
    Part MailTemplate::*part;
  } constexpr kParts[] = {{"subject.tpl", PartKind::kSubject, &MailTemplate::subject},
                          {"text.tpl", PartKind::kText, &MailTemplate::text},
                          {"html.tpl", PartKind::kHtml, &MailTemplate::html}};
  for (const fs::directory_entry& entry : fs::directory_iterator(directory)) {
    const std::string file = entry.path().filename().string();
    if (entry.path().extension() == ".tpl" &&
        std::none_of(std::begin(kParts), std::end(kParts), [&](const auto& part) { return file == part.file; })) {
      throw std::runtime_error(entry.path().string() + ": is none of subject.tpl, text.tpl and html.tpl");
    }
  }
  MailTemplate mail;
  for (const auto& part : kParts) {
    const fs::path path = directory / part.file;
    if (fs::symlink_status(path).type() == fs::file_type::not_found) continue;
    mail.*part.part = MakePart(ReadSource(root, path, part.kind), part.kind);
  }
  if (mail.text.compiled == nullptr && mail.html.compiled == nullptr) {
    throw std::runtime_error(directory.string() + ": has neither text.tpl nor html.tpl");
  }
  return mail;
}

}  // namespace

TemplateSet::TemplateSet(const std::string& directory) {
  try {
    if (!fs::is_directory(directory)) throw std::runtime_error(directory + ": is not a directory of templates");
    const fs::path root = fs::canonical(directory);
    for (const fs::directory_entry& entry : fs::directory_iterator(root)) {
      const std::string name = entry.path().filename().string();
      if (!entry.is_directory() || name.starts_with('_') || name.starts_with('.')) continue;
      if (!IsName(name)) {
        throw std::runtime_error(
            entry.path().string() +
            ": a template's name is [a-z0-9][a-z0-9._-]*; directories for other things begin with _");
      }
      templates_.emplace(name, ReadTemplate(root, entry.path()));
    }
  } catch (const fs::filesystem_error& error) {
    throw std::runtime_error(error.path1().string() + ": cannot be read: " + error.code().message());
  }
}

const MailTemplate* TemplateSet::Find(std::string_view name) const {
  const auto found = templates_.find(name);
  return found == templates_.end() ? nullptr : &found->second;
}

std::vector<std::string> TemplateSet::Names() const {
  std::vector<std::string> names;
  names.reserve(templates_.size());
  for (const auto& [name, mail] : templates_) names.push_back(name);
  return names;
}

}  // namespace postbus::templates
