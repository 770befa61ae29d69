#include "cli/command.h"

#include <CLI/CLI.hpp>
#include <cstdio>
#include <cstdlib>

#include "host/config_load.h"

namespace postbus {

void ConfigOptions::AddTo(CLI::App& command) {
  command.add_option("-c,--config", file, "Configuration file (YAML)")->required()->type_name("FILE");
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
