#include "host/json_schema.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "event/email_event.h"
#include "host/config_load.h"
#include "host/plugin_calls.h"
#include "host/plugin_options.h"

namespace postbus {
namespace {

constexpr std::string_view kSubstituted = R"({"type":"string","pattern":"\\$"})";

std::string Quoted(std::string_view text) {
  std::string json;
  AppendJsonString(text, json);
  return json;
}

std::string AnyOf(std::string_view own) {
  return R"({"anyOf":[)" + std::string(own) + "," + std::string(kSubstituted) + "]}";
}

std::string Pattern(std::string_view pattern) { return R"({"type":"string","pattern":)" + Quoted(pattern) + "}"; }

std::string BooleanSchema() { return AnyOf(R"({"enum":[true,false,"true","false"]})"); }

std::string ListSchema() { return R"({"type":"array","items":)" + TextSchema() + "}"; }

std::string ValueSchema(const postbus_option& option) {
  switch (option.type) {
    case POSTBUS_OPTION_INTEGER:
      return IntegerSchema(option.minimum, option.maximum);
    case POSTBUS_OPTION_BOOLEAN:
      return BooleanSchema();
    case POSTBUS_OPTION_DURATION:
      return DurationSchema();
    case POSTBUS_OPTION_SIZE:
      return SizeSchema();
    case POSTBUS_OPTION_ENUM:
      return ChoiceSchema(OptionChoices(option));
    case POSTBUS_OPTION_LIST:
      return ListSchema();
    default:
      return TextSchema();
  }
}

// The tree that the keys' paths make.
struct Tree {
  std::string name;  // in its parent
  std::vector<Tree> children;
  std::string schema;  // of a leaf

  Tree& At(std::string_view path) {
    const size_t dot = path.find('.');
    const std::string_view first = path.substr(0, dot);
    auto found = std::find_if(children.begin(), children.end(), [&](const Tree& child) { return child.name == first; });
    if (found == children.end()) {
      found = children.insert(children.end(), Tree{.name = std::string(first), .children = {}, .schema = {}});
    }
    return dot == path.npos ? *found : found->At(path.substr(dot + 1));
  }

  // `more` are members of the object at `plugin_path`s, by path.
  std::string Json(const std::string& path, const std::string& indent,
                   const std::vector<std::pair<std::string, std::string>>& more) const {
    if (children.empty()) return schema;
    if (children.front().name == "0") {
      return R"({"type":"array","minItems":1,"items":)" + children.front().Json(path + ".0", indent, more) + "}";
    }
    if (children.front().name == "*") {
      return R"({"type":["object","null"],"additionalProperties":)" + children.front().Json(path + ".*", indent, more) +
             "}";
    }
    std::string json = "{\"type\":[\"object\",\"null\"],\"additionalProperties\":false";
    for (const auto& [at, members] : more) {
      if (at == path) json += members;
    }
    json += ",\"properties\":{";
    for (const Tree& child : children) {
      if (json.back() != '{') json += ',';
      json += "\n" + indent + "  " + Quoted(child.name) + ":" +
              child.Json(path.empty() ? child.name : path + "." + child.name, indent + "  ", more);
    }
    return json + "}}";
  }
};

// What a plugin's section must have on top of what every plugin's has.
std::string SectionRule(std::span<const postbus_option* const> table) {
  std::string json =
      R"({"properties":{"options":{"type":["object","null"],"additionalProperties":false,"properties":{)";
  std::string required;
  for (const postbus_option* option : table) {
    if (json.back() != '{') json += ',';
    std::string value = ValueSchema(*option);
    value.insert(1, "\"description\":" + Quoted(PluginText(option->description)) + ",");
    if (const auto text = PluginText(option->default_value); !text.empty()) {
      value.insert(1, "\"default\":" + Quoted(text) + ",");
    }
    json += "\n  " + Quoted(PluginText(option->name)) + ":" + value;
    if ((option->flags & POSTBUS_OPTION_REQUIRED) == 0) continue;
    required += (required.empty() ? "" : ",") + Quoted(PluginText(option->name));
  }
  json += "},\"required\":[" + required + "]}}";
  return json + (required.empty() ? "}" : R"(,"required":["options"]})");
}

// "plugin: smtp has these options", for each.
std::string PluginMembers(std::span<const NamedPlugin> plugins, bool transports) {
  std::string rules;
  for (const NamedPlugin& plugin : plugins) {
    if ((plugin.library->transport() != nullptr) != transports) continue;
    rules += rules.empty() ? "\n" : ",\n";
    rules += R"({"if":{"properties":{"plugin":{"const":)" + Quoted(plugin.name) +
             R"(}},"required":["plugin"]},"then":)" + SectionRule(plugin.library->options()) + "}";
  }
  return R"(,"required":["plugin"],"allOf":[)" + rules + "]";
}

}  // namespace

std::string TextSchema() { return R"({"type":["string","number","boolean"]})"; }

std::string TextsSchema() { return R"({"anyOf":[)" + TextSchema() + "," + ListSchema() + "]}"; }

std::string IntegerSchema(int64_t minimum, int64_t maximum) {
  std::string own = R"({"type":"integer")";
  if (minimum != 0 || maximum != 0) {
    own += ",\"minimum\":" + std::to_string(minimum) + ",\"maximum\":" + std::to_string(maximum);
  }
  return AnyOf(own + "}," + Pattern("^-?[0-9]+$"));
}

std::string NumberSchema() { return AnyOf(R"({"type":"number"},)" + Pattern("^[0-9]*[.]?[0-9]+([eE][+-]?[0-9]+)?$")); }

std::string DurationSchema() { return AnyOf(Pattern("^([0-9]+(d|h|m|s|ms))+$")); }

std::string SizeSchema() { return AnyOf(R"({"type":"integer","minimum":0},)" + Pattern("^[0-9]+(B|KiB|MiB|GiB)?$")); }

std::string ChoiceSchema(std::span<const std::string_view> choices) {
  std::string own = R"({"enum":[)";
  for (const std::string_view choice : choices) own += (own.back() == '[' ? "" : ",") + Quoted(choice);
  return AnyOf(own + "]}");
}

std::string ConfigSchema(std::span<const NamedPlugin> plugins) {
  Tree root;
  for (const ConfigKey& key : ConfigKeys()) root.At(key.path).schema = key.schema;
  // The options' names come from the plugins; of one that is not known here they may be any.
  for (const char* path : {"renderer.options", "transports.*.options"}) {
    Tree& options = root.At(path);
    options.children.clear();
    options.schema = R"({"type":["object","null"]})";
  }
  const std::string body = root.Json("", "",
                                     {{"", R"(,"required":["version","renderer","transports"])"},
                                      {"renderer", PluginMembers(plugins, false)},
                                      {"transports.*", PluginMembers(plugins, true)}});
  return "{\"$schema\":\"https://json-schema.org/draft/2020-12/schema\",\"title\":\"postbus configuration\"," +
         body.substr(1) + "\n";
}

}  // namespace postbus
