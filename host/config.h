// host/config.h - the configuration as plain structs: what `config_load.cc` makes of the YAML file. Defaults here are
// the defaults; each key is documented here and nowhere else. Value types.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "event/email_event.h"
#include "queue/queue_config.h"

namespace postbus {

// Where a value stands in the configuration, for errors: "config/postbus.yaml:14:13".
struct SourceMark {
  std::string file;
  int line = 0;    // from 1
  int column = 0;  // from 1

  // Without a line (a --set) the name alone.
  std::string ToString() const {
    return line == 0 ? file : file + ":" + std::to_string(line) + ":" + std::to_string(column);
  }
};

// One entry of a plugin's `options:`, substituted but not typed: its type is known to the plugin's option table only.
struct ConfiguredOption {
  std::string name;
  std::string text;                // a scalar's
  std::vector<std::string> items;  // a sequence's
  bool is_list = false;
  std::string variables;  // names of the variables that were put in, for errors: "SMTP_PORT"; else empty
  SourceMark name_mark;
  SourceMark value_mark;
};

struct PluginConfig {
  std::string plugin;  // "smtp", or an absolute path
  SourceMark mark;
  std::vector<ConfiguredOption> options;
  std::string base_dir;  // relative paths in options are relative to it: the file's directory
};

struct TransportConfig : PluginConfig {
  std::string name;  // "primary"
};

// First match wins; the last must match all. First form: `- { use: [one] }`.
struct RouteConfig {
  std::vector<std::string> use;  // names of transports
  SourceMark mark;
};

struct RetryConfig {
  int max_retries = 3;                                             // of an event that does not say
  int max_retries_limit = 20;                                      // what an event may ask for at most
  std::vector<int64_t> backoff_ms = {30'000, 600'000, 3'600'000};  // the last repeats
  int64_t max_age_ms = 5LL * 24 * 3600 * 1000;
};

struct HostConfig {
  int max_in_flight = 4000;
  int threads = 1;  // shards
  int64_t drain_timeout_ms = 25'000;
};

struct LogConfig {
  enum class Format { kAuto, kText, kJson };  // auto: text on a terminal, else JSON
  std::string level = "info";                 // debug | info | warning | error
  Format format = Format::kAuto;
};

struct ListenConfig {
  std::string address = "127.0.0.1";
  uint16_t port = 0;
  SourceMark mark;
};

struct Config {
  std::string file;           // as given
  QueueConfig queue;          // state_dir and max_event included
  std::string defaults_from;  // "" or a mailbox
  HostConfig host;
  std::vector<std::string> plugin_directories;  // absolute; <exe>/../plugins and <prefix>/lib/postbus/plugins are added
  PluginConfig renderer;
  std::vector<TransportConfig> transports;
  std::vector<RouteConfig> routes;
  RetryConfig retry;
  EventLimits limits;
  ListenConfig api{.address = "127.0.0.1", .port = 8080, .mark = {}};
  ListenConfig admin{.address = "127.0.0.1", .port = 9464, .mark = {}};
  LogConfig log;
};

}  // namespace postbus
