// postbus plugins list | show | check | new: which plugins there are, what each can be configured with, whether it
// keeps to the ABI, and one more.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>

#include "cli/command.h"
#include "cli/new_plugin.h"
#include "cli/plugin_check.h"
#include "event/email_event.h"
#include "host/plugin_calls.h"
#include "host/plugin_library.h"
#include "host/plugin_options.h"
#include "host/plugin_set.h"

namespace postbus {
namespace {

namespace fs = std::filesystem;

struct PluginsOptions {
  ConfigOptions config;
  std::string output = "text";
  std::string name;
  std::vector<std::string> given;  // NAME=VALUE
  std::string check;
  std::string timeout = "30s";
  std::string kind = "transport";
  std::string language = "c++";
};

std::vector<fs::path> Directories(const ConfigOptions& options) {
  return PluginDirectories(options.file.empty() ? Config() : options.LoadOrExit());
}

const char* Kind(const PluginLibrary& library) { return library.transport() != nullptr ? "transport" : "renderer"; }

std::vector<std::string_view> Capabilities(const PluginLibrary& library) {
  std::vector<std::string_view> names;
  const uint32_t caps = library.transport() != nullptr ? library.transport()->caps : 0;
  if ((caps & POSTBUS_TRANSPORT_WANTS_RAW) != 0) names.push_back("wants_raw");
  if ((caps & POSTBUS_TRANSPORT_WANTS_PARTS) != 0) names.push_back("wants_parts");
  if ((caps & POSTBUS_TRANSPORT_IDEMPOTENT) != 0) names.push_back("idempotent");
  if ((caps & POSTBUS_TRANSPORT_TEST_ONLY) != 0) names.push_back("test_only");
  return names;
}

std::string_view TypeName(const postbus_option& option) {
  switch (option.type) {
    case POSTBUS_OPTION_INTEGER:
      return "integer";
    case POSTBUS_OPTION_BOOLEAN:
      return "boolean";
    case POSTBUS_OPTION_DURATION:
      return "duration";
    case POSTBUS_OPTION_SIZE:
      return "size";
    case POSTBUS_OPTION_ENUM:
      return "enum";
    case POSTBUS_OPTION_PATH:
      return "path";
    case POSTBUS_OPTION_LIST:
      return "list";
    default:
      return "string";
  }
}

bool Has(const postbus_option& option, uint32_t flag) { return (option.flags & flag) != 0; }

// "integer, 1–64 threads", "starttls or none", "string, secret".
std::string TypeText(const postbus_option& option) {
  std::string text;
  if (option.type == POSTBUS_OPTION_ENUM) {
    const std::vector<std::string_view> choices = OptionChoices(option);
    for (size_t i = 0; i < choices.size(); ++i) {
      if (i > 0) text += i + 1 == choices.size() ? " or " : ", ";
      text += choices[i];
    }
  } else {
    text = TypeName(option);
  }
  const std::string range = OptionRange(option);
  if (!range.empty()) text += ", " + range;
  const std::string_view unit = PluginText(option.unit);
  if (!unit.empty() && unit != "port") text += (range.empty() ? ", " : " ") + std::string(unit);
  if (Has(option, POSTBUS_OPTION_SECRET)) text += ", secret";
  return text;
}

std::string DefaultText(const postbus_option& option) {
  if (Has(option, POSTBUS_OPTION_REQUIRED)) return "required";
  const std::string_view value = PluginText(option.default_value);
  if (!value.empty()) return std::string(value);
  return option.type == POSTBUS_OPTION_LIST ? "[]" : "\"\"";
}

// The members of a plugin's JSON object that `list` and `show` have in common.
std::string BeginJson(const std::string& name, const PluginLibrary& library) {
  std::string json = "{";
  AddJsonMember("name", name, json);
  AddJsonMember("kind", Kind(library), json);
  AddJsonMember("version", library.version(), json);
  AddJsonMember("abi", library.abi(), json);
  AddJsonMember("summary", library.summary(), json);
  AddJsonMember("path", library.path().string(), json);
  json += ",\"capabilities\":[";
  for (const std::string_view capability : Capabilities(library)) {
    if (json.back() != '[') json += ',';
    AppendJsonString(capability, json);
  }
  return json + "]";
}

std::string OptionJson(const postbus_option& option) {
  std::string json = "{";
  AddJsonMember("name", PluginText(option.name), json);
  AddJsonMember("type", TypeName(option), json);
  json += std::string(",\"required\":") + (Has(option, POSTBUS_OPTION_REQUIRED) ? "true" : "false");
  json += std::string(",\"secret\":") + (Has(option, POSTBUS_OPTION_SECRET) ? "true" : "false");
  if (!Has(option, POSTBUS_OPTION_REQUIRED)) AddJsonMember("default", PluginText(option.default_value), json);
  if (option.type == POSTBUS_OPTION_ENUM) {
    json += ",\"choices\":[";
    for (const std::string_view choice : OptionChoices(option)) {
      if (json.back() != '[') json += ',';
      AppendJsonString(choice, json);
    }
    json += ']';
  }
  if (!OptionRange(option).empty()) {  // milliseconds and bytes, as in the table
    json += ",\"minimum\":" + std::to_string(option.minimum) + ",\"maximum\":" + std::to_string(option.maximum);
  }
  if (!PluginText(option.unit).empty()) AddJsonMember("unit", PluginText(option.unit), json);
  AddJsonMember("description", PluginText(option.description), json);
  return json + "}";
}

void List(const PluginsOptions& options) {
  const std::vector<fs::path> directories = Directories(options.config);
  const std::vector<fs::path> files = PluginFiles(directories);
  std::string json = "[";
  bool broken = false;
  for (const fs::path& file : files) {
    const std::string name = file.stem().string();
    const auto library = PluginLibrary::Load(file);
    if (!library.ok()) {
      PrintError(library.status());
      broken = true;
    } else if (options.output == "json") {
      json += (json.back() == '[' ? "" : ",") + BeginJson(name, **library) + "}";
    } else {
      std::printf("%-12s %-10s %-8s %s\n", name.c_str(), Kind(**library), std::string((*library)->version()).c_str(),
                  std::string((*library)->summary()).c_str());
    }
  }
  if (options.output == "json") std::printf("%s]\n", json.c_str());
  if (files.empty()) {
    std::string sentence = "there are no plugins in";
    for (const fs::path& directory : directories) sentence += " " + directory.string();
    Die(Status::NotFound(sentence));
  }
  if (broken) std::exit(kExitConfig);
}

std::string Text(const std::string& name, const PluginLibrary& library) {
  std::string text = name + " " + std::string(library.version()) + ", " + Kind(library) + "\n" +
                     std::string(library.summary()) + "\n\nfile: " + library.path().string() +
                     "\nABI:  " + library.abi() + "\n";
  if (const auto capabilities = Capabilities(library); !capabilities.empty()) {
    text += "can: ";
    for (const std::string_view capability : capabilities) text += " " + std::string(capability);
    text += "\n";
  }
  text += library.options().empty() ? "\nno options\n" : "\noptions:\n";
  for (const postbus_option* option : library.options()) {
    text += "  " + std::string(PluginText(option->name)) + ": " + TypeText(*option) + "; ";
    text += Has(*option, POSTBUS_OPTION_REQUIRED) ? "required" : "default " + DefaultText(*option);
    text += "\n      " + std::string(PluginText(option->description)) + "\n";
  }
  return text;
}

// A cell of a Markdown table.
std::string Cell(std::string_view text) {
  std::string cell;
  for (const char c : text) cell += c == '|' ? "\\|" : std::string(1, c);
  return cell;
}

std::string Markdown(const std::string& name, const PluginLibrary& library) {
  std::string page = "# " + name + " (" + Kind(library) + ")\n\n" + std::string(library.summary()) + "\n\n";
  if (library.options().empty()) return page + "It has no options.\n";
  page += "| option | type | default | |\n| --- | --- | --- | --- |\n";
  for (const postbus_option* option : library.options()) {
    const std::string value = DefaultText(*option);
    page += "| `" + std::string(PluginText(option->name)) + "` | " + Cell(TypeText(*option)) + " | " +
            (Has(*option, POSTBUS_OPTION_REQUIRED) ? value : "`" + Cell(value) + "`") + " | " +
            Cell(PluginText(option->description)) + " |\n";
  }
  return page;
}

void Show(const PluginsOptions& options) {
  const auto file = FindPlugin(options.name, Directories(options.config));
  if (!file.ok()) Die(file.status());
  const auto library = PluginLibrary::Load(*file);
  if (!library.ok()) Die(library.status());
  const std::string name = file->stem().string();
  std::string text;
  if (options.output == "json") {
    text = BeginJson(name, **library) + ",\"options\":[";
    for (const postbus_option* option : (*library)->options()) {
      text += (text.back() == '[' ? "" : ",") + OptionJson(*option);
    }
    text += "]}\n";
  } else {
    text = options.output == "markdown" ? Markdown(name, **library) : Text(name, **library);
  }
  std::fputs(text.c_str(), stdout);
}

// A path may be relative to here: an author's plugin lies where it was built.
fs::path FileOf(const PluginsOptions& options) {
  const bool is_path = options.name.find('/') != std::string::npos;
  const std::string name = is_path ? fs::absolute(options.name).lexically_normal().string() : options.name;
  const auto file = FindPlugin(name, is_path ? std::vector<fs::path>() : Directories(options.config));
  if (!file.ok()) Die(file.status());
  return *file;
}

std::string_view Word(const Finding& finding) {
  switch (finding.kind) {
    case Finding::Kind::kOk:
      return "ok";
    case Finding::Kind::kSkipped:
      return "skipped";
    default:
      return "FAIL";
  }
}

[[noreturn]] void UsageError(const std::string& sentence) {
  PrintError(Status::Invalid(sentence));
  std::exit(kExitUsage);
}

void Check(const PluginsOptions& options) {
  CheckSubject subject{.file = FileOf(options), .options = {}, .limit = {}, .scratch = {}};
  for (const std::string& given : options.given) {
    const size_t equals = given.find('=');
    if (equals == std::string::npos) UsageError("--option: write it as NAME=VALUE");
    subject.options.emplace_back(given.substr(0, equals), given.substr(equals + 1));
  }
  const auto limit_ms = ParseDurationMs(options.timeout);
  if (!limit_ms || *limit_ms < 1) UsageError("--timeout is not a duration such as 30s");
  subject.limit = std::chrono::milliseconds(*limit_ms);
  std::string json = "[";
  size_t faults = 0;
  const Status done = RunPluginChecks(subject, options.check, [&](std::string_view name, const Finding& finding) {
    faults += finding.kind == Finding::Kind::kFault ? 1 : 0;
    if (options.output == "json") {
      std::string one = "{";
      AddJsonMember("check", name, one);
      AddJsonMember("result", Word(finding), one);
      if (!finding.sentence.empty()) AddJsonMember("reason", finding.sentence, one);
      json += (json.back() == '[' ? "" : ",") + one + "}";
    } else {
      std::printf("%-8s %-20s %s\n", std::string(Word(finding)).c_str(), std::string(name).c_str(),
                  finding.sentence.c_str());
      std::fflush(stdout);
    }
  });
  if (!done.ok()) Die(done);
  if (options.output == "json") std::printf("%s]\n", json.c_str());
  if (faults != 0) std::exit(kExitConfig);
}

void New(const PluginsOptions& options) {
  const NewPlugin plugin{
      .name = options.name, .is_renderer = options.kind == "renderer", .in_c = options.language == "c"};
  if (const Status status = WriteNewPlugin(plugin, options.name); !status.ok()) Die(status);
  const char* const name = options.name.c_str();
  std::printf(
      "%s/ is there. Now:\n\n  cd %s\n  cmake -B build\n  cmake --build build\n"
      "  postbus plugins check build/plugins/%s.so\n",
      name, name, name);
}

}  // namespace

void AddPluginsCommand(CLI::App& program) {
  auto options = std::make_shared<PluginsOptions>();
  CLI::App* plugins = program.add_subcommand("plugins", "The transports and renderers there are, and their options");
  plugins->require_subcommand(1);
  AddExample(*plugins, "postbus plugins list\npostbus plugins show smtp");
  CLI::App* list = plugins->add_subcommand("list", "Each plugin in the plugin directories");
  options->config.AddTo(*list, false);
  AddOutputOption(*list, options->output);
  AddExample(*list, "postbus plugins list --output json");
  list->callback([options] { List(*options); });
  CLI::App* show = plugins->add_subcommand("show", "One plugin: version, file, capabilities, options");
  show->add_option("NAME", options->name, "Its name, or the absolute path of its file")->required();
  options->config.AddTo(*show, false);
  AddOutputOption(*show, options->output, {"text", "json", "markdown"});
  AddExample(*show, "postbus plugins show smtp");
  show->callback([options] { Show(*options); });
  CLI::App* check = plugins->add_subcommand("check", "Whether a plugin keeps to the ABI: one line a check");
  check->add_option("NAME", options->name, "Its name, or the path of its file")->required();
  options->config.AddTo(*check, false);
  check->add_option("--option", options->given, "Of the plugin's options; those it requires get a stand-in otherwise")
      ->type_name("NAME=VALUE")
      ->allow_extra_args(false);
  check->add_option("--check", options->check, "Run this one alone")->type_name("CHECK");
  check->add_option("--timeout", options->timeout, "Time a check may take")
      ->type_name("DURATION")
      ->capture_default_str();
  AddOutputOption(*check, options->output);
  AddExample(*check, "postbus plugins check null\npostbus plugins check ctemplate --option directory=templates");
  check->callback([options] { Check(*options); });
  CLI::App* made = plugins->add_subcommand("new", "A project to begin a plugin with, in the directory NAME");
  made->add_option("NAME", options->name, "What it is to be called: a-z, 0-9 and -")->required();
  made->add_option("--kind", options->kind, "What it is to be")
      ->check(CLI::IsMember(std::vector<std::string>{"transport", "renderer"}))
      ->capture_default_str();
  made->add_option("--language", options->language, "What it is written in")
      ->check(CLI::IsMember(std::vector<std::string>{"c++", "c"}))
      ->capture_default_str();
  AddExample(*made, "postbus plugins new acme\npostbus plugins new acme-letters --kind renderer --language c");
  made->callback([options] { New(*options); });
}

}  // namespace postbus
