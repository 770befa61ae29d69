// A second renderer, as an outsider writes one: proof that the host knows nothing of ctemplate. DIRECTORY/NAME.txt: the
// first line is the subject, the rest the text; {{Link}} stands for a string of the data.
#include <rapidjson/document.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>

#include "postbus/renderer.hpp"

namespace {
namespace sdk = postbus::sdk;

constexpr sdk::About kAbout{.id = "braces", .version = "1.0.0", .summary = "Puts strings into {{braces}}."};
constexpr std::array kOptions = {sdk::PathOption("directory", "Where the templates are.").Required()};

class Braces : public sdk::Renderer {
 public:
  Braces(sdk::Host, const sdk::Options& options) {
    for (const auto& entry : std::filesystem::directory_iterator(options.Path("directory"))) {
      std::ifstream file(entry.path(), std::ios::binary);
      if (entry.path().extension() != ".txt") continue;
      templates_[entry.path().stem().string()] = {std::istreambuf_iterator<char>(file), {}};
    }
  }

  int32_t Render(std::string_view name, std::string_view data, const sdk::RenderOutput& out) const override {
    const auto found = templates_.find(std::string(name));
    if (found == templates_.end()) return Fail(out, POSTBUS_RENDER_UNKNOWN_TEMPLATE, "there is no such template");
    rapidjson::Document values;
    values.Parse<rapidjson::kParseIterativeFlag>(data.data(), data.size());
    if (!values.IsObject()) return Fail(out, POSTBUS_RENDER_INVALID_DATA, "the data is not a JSON object");
    std::string mail;
    std::string_view rest = found->second;
    for (size_t open = rest.find("{{"); open != rest.npos; open = rest.find("{{")) {
      const size_t close = rest.find("}}", open);
      if (close == rest.npos) return Fail(out, POSTBUS_RENDER_FAILED, "a {{ is not closed");
      const std::string variable(rest.substr(open + 2, close - open - 2));
      const auto value = values.FindMember(variable.c_str());
      if (value == values.MemberEnd()) {
        return Fail(out, POSTBUS_RENDER_MISSING_VARIABLE, "/" + variable + " the template wants it");
      }
      if (!value->value.IsString()) return Fail(out, POSTBUS_RENDER_INVALID_DATA, "/" + variable + " is no string");
      mail.append(rest.substr(0, open)).append(value->value.GetString(), value->value.GetStringLength());
      rest.remove_prefix(close + 2);
    }
    mail += rest;
    const size_t line = std::min(mail.find('\n'), mail.size());
    out.subject.Write(std::string_view(mail).substr(0, line));
    out.text.Write(std::string_view(mail).substr(std::min(line + 1, mail.size())));
    return POSTBUS_RENDER_OK;
  }

  std::vector<std::string> List() const override {
    std::vector<std::string> names;
    for (const auto& [name, text] : templates_) names.push_back(name);
    return names;
  }

 private:
  static int32_t Fail(const sdk::RenderOutput& out, int32_t result, std::string_view sentence) {
    out.error.Write(sentence);
    return result;
  }

  std::map<std::string, std::string> templates_;
};
}  // namespace

POSTBUS_EXPORT_RENDERER(Braces, kAbout, kOptions);
