// host/config_load.h - reads the YAML file into a Config: substitution, types, unknown and duplicate keys.
#pragma once

#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "event/status.h"
#include "host/config.h"

namespace postbus {

// Looks up a variable; nullopt = unset. The default reads the environment.
using Environment = std::function<std::optional<std::string>(std::string_view name)>;
std::optional<std::string> ProcessEnvironment(std::string_view name);

// Loads `path`. `overrides` are `key.path=value` (--set), the value read as YAML. On failure the status has one line
// for each thing wrong, `file:line:column: key.path: sentence`. Relative paths become absolute against the file's
// directory. Plugins are not loaded: their options stay untyped (host/plugin_options.h).
Result<Config> LoadConfig(const std::string& path, std::span<const std::string> overrides = {},
                          const Environment& environment = ProcessEnvironment);

// Every key that LoadConfig knows, in the order in which it reads them, with what it takes there as JSON Schema. `*`
// stands for a name of one's own, `0` for each element of a list: "transports.*.breaker.failures", "routes.0.use".
struct ConfigKey {
  std::string path;
  std::string schema;
};
std::vector<ConfigKey> ConfigKeys();

// `${VAR}`, `${VAR:-default}`, `${file:path}` and `$$` in `text`. Names of what was put in are appended to `variables`,
// separated by ", ". `base_dir` is what a relative file path is relative to.
Result<std::string> Substitute(std::string_view text, const std::string& base_dir, const Environment& environment,
                               std::string& variables);

}  // namespace postbus
