#include "cli/command.h"

#include <CLI/CLI.hpp>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <iterator>

#include "event/email_event.h"
#include "host/config_load.h"
#include "host/read_file.h"

namespace postbus {

void ConfigOptions::AddTo(CLI::App& command, bool required) {
  command.add_option("-c,--config", file, "Configuration file (YAML)")->required(required)->type_name("FILE");
  command.add_option("--set", overrides, "Overrides a key of the configuration, e.g. api.listen=127.0.0.1:8081")
      ->type_name("KEY=VALUE")
      ->allow_extra_args(false);
}

Config ConfigOptions::LoadOrExit() const {
  auto config = LoadConfig(file, overrides);
  if (!config.ok()) {
    PrintError(config.status());
    std::exit(kExitConfig);
  }
  return std::move(*config);
}

void AddExample(CLI::App& command, std::string lines) {
  for (size_t at = lines.find('\n'); at != lines.npos; at = lines.find('\n', at + 3)) lines.replace(at, 1, "\n  ");
  command.footer("Example:\n  " + lines);
}

void AddOutputOption(CLI::App& command, std::string& output, std::vector<std::string> formats) {
  command.add_option("--output", output, "Format of what is printed")
      ->check(CLI::IsMember(std::move(formats)))
      ->capture_default_str();
}

void AddJsonMember(std::string_view name, std::string_view value, std::string& json) {
  if (json.back() != '{') json += ',';
  AppendJsonString(name, json);
  json += ':';
  AppendJsonString(value, json);
}

std::string TextOrExit(std::string_view option, const std::string& value) {
  if (value == "-") return {std::istreambuf_iterator<char>(std::cin), {}};
  if (!value.starts_with('@')) return value;
  auto text = ReadFile(value.substr(1));
  if (!text) {
    PrintError(Status::NotFound(std::string(option) + ": cannot read " + value.substr(1)));
    std::exit(kExitUsage);
  }
  return *text;
}

void PrintError(const Status& status) {
  std::string_view rest = status.message();
  while (!rest.empty()) {
    const size_t end = std::min(rest.find('\n'), rest.size());
    std::fprintf(stderr, "postbus: %.*s\n", static_cast<int>(end), rest.data());
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
}

int ExitCodeOf(const Status& status) {
  const bool may_work_later = status.kind() == ErrorKind::kUnavailable || status.kind() == ErrorKind::kConflict ||
                              status.kind() == ErrorKind::kUncertain;
  return may_work_later ? kExitUnavailable : kExitConfig;
}

void Die(const Status& status) {
  PrintError(status);
  std::exit(ExitCodeOf(status));
}

}  // namespace postbus
