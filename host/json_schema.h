// host/json_schema.h - the kinds of values of the configuration as JSON Schema (2020-12). A value may always be a text
// that
// `${VAR}` is put into, and a number in quotes. Pure functions.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "host/plugin_library.h"

namespace postbus {

std::string TextSchema();
std::string TextsSchema();  // one, or a list
std::string IntegerSchema(int64_t minimum, int64_t maximum);
std::string NumberSchema();
std::string DurationSchema();
std::string SizeSchema();
std::string ChoiceSchema(std::span<const std::string_view> choices);

// One plugin that the configuration can name.
struct NamedPlugin {
  std::string name;  // as in `plugin: smtp`
  std::shared_ptr<const PluginLibrary> library;
};

// The schema of the whole configuration, from the keys that the loader knows (ConfigKeys) and the plugins' option
// tables.
std::string ConfigSchema(std::span<const NamedPlugin> plugins);

}  // namespace postbus
