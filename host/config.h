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
  std::string sha256;  // "", or what the plugin's file must have, as sha256sum prints it
  SourceMark sha256_mark;
  std::vector<ConfiguredOption> options;
  std::string base_dir;  // relative paths in options are relative to it: the file's directory
};

// When a transport is left alone for a while (host/breaker.h).
struct BreakerConfig {
  int failures = 20;                // different mails in a row that came to nothing before their point of no return
  int64_t probe_after_ms = 30'000;  // the longest pause before a mail tries it again; the first are shorter
};

// Mails a second to one domain; a mail to several domains counts for each.
struct DomainRate {
  std::string domain;  // a glob: `*` stands for anything, and each domain it matches has a rate of its own; case aside
  double per_second = 0;
  double burst = 0;

  friend bool operator==(const DomainRate&, const DomainRate&) = default;
};

// How fast mails may go by a transport (host/rate_limiter.h); with Kafka all hosts of the group together.
struct RateLimitConfig {
  double per_second = 0;               // mails; 0 = no limit
  double burst = 0;                    // at once; not set: what is due in a tenth of a second
  std::vector<DomainRate> per_domain;  // the first that matches

  friend bool operator==(const RateLimitConfig&, const RateLimitConfig&) = default;
};

struct TransportConfig : PluginConfig {
  std::string name;  // "primary"
  BreakerConfig breaker;
  RateLimitConfig rate_limit;
};

// What an event must be like; an empty list takes any. Patterns: `*` stands for anything.
struct RouteMatch {
  std::vector<std::string> templates;
  std::vector<std::string> types;
  std::vector<std::string> priorities;         // "high", "normal", "low"
  std::vector<std::string> recipient_domains;  // of all recipients; case aside
  std::vector<std::string> senders;            // addresses; case aside
  std::vector<std::string> tags;               // one of the event's is enough
};

// First match wins; the last must match all. `use: [a, b]`: by a, while a's provider fails by b. `split: {a: 95, b:
// 5}`: the recipient decides which is first.
struct RouteConfig {
  RouteMatch match;
  std::vector<std::string> use;   // names of transports
  std::vector<uint32_t> weights;  // of a split, one a name; else empty
  SourceMark mark;
};

// What follows when a mail was past its point of no return and no answer came.
enum class WhenInDoubt {
  kRetry,       // it goes again, with the same Message-ID: at least once
  kDeadLetter,  // it never goes again: at most once (QueueConfig::at_most_once)
};

struct RetryConfig {
  int max_retries = 3;                                             // of an event that does not say
  int max_retries_limit = 20;                                      // what an event may ask for at most
  std::vector<int64_t> backoff_ms = {30'000, 600'000, 3'600'000};  // the last repeats
  int64_t max_age_ms = 5LL * 24 * 3600 * 1000;
  WhenInDoubt in_doubt = WhenInDoubt::kRetry;
};

// When something counts as stuck (host/watchdog.h). No keys: a healthy host is far from it.
struct WatchdogConfig {
  int64_t silent_ms = 10'000;            // a shard that makes no round
  int64_t owes_answer_ms = 16 * 60'000;  // a transport's mail: 5 min to the point of no return, 10 for the answer
};

struct HostConfig {
  int max_in_flight = 4000;
  int threads = 1;  // shards
  int64_t drain_timeout_ms = 25'000;
  WatchdogConfig watchdog;
};

struct LogConfig {
  enum class Format { kAuto, kText, kJson };  // auto: text on a terminal, else JSON
  std::string level = "info";                 // debug | info | warning | error
  Format format = Format::kAuto;
};

// Who may really get mail. For staging: never a customer.
struct RecipientsConfig {
  std::string redirect_to;              // "" or a mailbox: gets every mail instead of its recipients
  std::vector<std::string> allow{"*"};  // globs; mail for any other address is dead-lettered
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
  // Plugins are loaded from private copies in state_dir/plugins, so that another file under the same name can be loaded
  // later. Set by the roles that can reload; no key.
  bool copy_plugins = false;
  PluginConfig renderer;
  std::vector<TransportConfig> transports;
  std::vector<RouteConfig> routes;
  RetryConfig retry;
  RecipientsConfig recipients;
  EventLimits limits;
  ListenConfig api{.address = "127.0.0.1", .port = 8080, .mark = {}};
  ListenConfig admin{.address = "127.0.0.1", .port = 9464, .mark = {}};
  LogConfig log;
};

}  // namespace postbus
