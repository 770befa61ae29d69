#include "host/config_load.h"

#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <set>
#include <vector>

#include "event/address.h"
#include "event/email_event.h"
#include "host/json_schema.h"
#include "host/plugin_options.h"
#include "host/read_file.h"
#include "host/recipient_policy.h"

namespace postbus {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMinRecipientKeyBytes = 16;

// A scalar after substitution.
struct Text {
  std::string value;
  std::string variables;  // what was put in, for errors
  SourceMark mark;
};

// What the whole load shares: where things stand and what went wrong.
class Loader {
 public:
  Loader(std::string file, const Environment& environment)
      : file_(std::move(file)), base_dir_(fs::absolute(file_).parent_path().string()), environment_(environment) {}

  const std::string& file() const { return file_; }
  const std::string& base_dir() const { return base_dir_; }
  std::string Absolute(const std::string& path) const {
    return (fs::path(base_dir_) / path).lexically_normal().string();
  }

  void MarkOverridden(const std::string& path) { overridden_.insert(path); }

  SourceMark MarkOf(const YAML::Node& node, const std::string& path) const {
    for (const std::string& key : overridden_) {
      if (path == key || path.starts_with(key + ".")) return {.file = "--set " + key, .line = 0, .column = 0};
    }
    const YAML::Mark mark = node.Mark();
    if (mark.is_null()) return {.file = file_, .line = 0, .column = 0};
    return {.file = file_, .line = mark.line + 1, .column = mark.column + 1};
  }

  void Fail(const SourceMark& mark, const std::string& path, const std::string& sentence) {
    std::string line = mark.ToString();
    line += ": ";
    if (!path.empty()) line += path + ": ";
    problems_.push_back(line + sentence);
  }

  std::optional<Text> ReadText(const YAML::Node& node, const std::string& path) {
    const SourceMark mark = MarkOf(node, path);
    if (!node.IsScalar()) {
      Fail(mark, path, "must be a single value");
      return std::nullopt;
    }
    Text text{.value = {}, .variables = {}, .mark = mark};
    auto value = Substitute(node.Scalar(), base_dir_, environment_, text.variables);
    if (!value.ok()) {
      Fail(mark, path, std::string(value.status().message()));
      return std::nullopt;
    }
    text.value = std::move(*value);
    return text;
  }

  // ConfigKeys() listens to what is asked for; the first that is said of a key is the most exact.
  void RecordKeys(std::vector<ConfigKey>& keys) { keys_ = &keys; }
  void Record(const std::string& path, const std::string& schema) {
    if (keys_ == nullptr) return;
    const auto is_it = [&path](const ConfigKey& key) { return key.path == path; };
    if (std::none_of(keys_->begin(), keys_->end(), is_it)) keys_->push_back({path, schema});
  }

  Status Outcome() const {
    if (problems_.empty()) return {};
    std::string all;
    for (const std::string& problem : problems_) {
      if (!all.empty()) all += '\n';
      all += problem;
    }
    return Status::Invalid(std::move(all));
  }

 private:
  const std::string file_;
  const std::string base_dir_;
  const Environment& environment_;
  std::set<std::string> overridden_;
  std::vector<std::string> problems_;
  std::vector<ConfigKey>* keys_ = nullptr;
};

// One mapping of the file. Reads the keys it is asked for; Done reports the others with the nearest of those.
class Section {
 public:
  Section(Loader& loader, const YAML::Node& node, std::string path)
      : loader_(loader), node_(node), path_(std::move(path)) {
    if (node_.IsDefined() && !node_.IsNull() && !node_.IsMap()) {
      loader_.Fail(loader_.MarkOf(node_, path_), path_, "must be a mapping");
      node_ = YAML::Node();
    }
  }

  std::string PathOf(std::string_view key) const {
    return path_.empty() ? std::string(key) : path_ + "." + std::string(key);
  }
  const SourceMark MarkOfKey(std::string_view key) const {
    for (const auto& entry : node_) {
      if (entry.first.Scalar() == key) return loader_.MarkOf(entry.first, PathOf(key));
    }
    return loader_.MarkOf(node_, path_);
  }

  // The value of `key`, or an undefined node.
  YAML::Node Get(std::string_view key) {
    known_.push_back(key);
    if (!node_.IsMap()) return YAML::Node(YAML::NodeType::Undefined);
    for (const auto& entry : node_) {
      if (entry.first.IsScalar() && entry.first.Scalar() == key) return entry.second;
    }
    return YAML::Node(YAML::NodeType::Undefined);
  }

  Section Sub(std::string_view key) { return {loader_, Get(key), PathOf(key)}; }

  // Reads `key` into `target` where it is set. `parse` gives an optional; nothing means that the value is no `kind`.
  template <typename T, typename Parse>
  void Read(std::string_view key, T& target, Parse parse, std::string_view kind) {
    loader_.Record(PathOf(key), TextSchema());
    const YAML::Node node = Get(key);
    if (!node.IsDefined()) return;
    const auto text = loader_.ReadText(node, PathOf(key));
    if (!text) return;
    auto value = parse(text->value);
    if (!value) return NotA(*text, PathOf(key), kind);
    target = static_cast<T>(*value);
  }

  void ReadString(std::string_view key, std::string& target) {
    Read(
        key, target, [](const std::string& text) { return std::optional<std::string>(text); }, "text");
  }

  template <typename T>
  void ReadInteger(std::string_view key, T& target, int64_t minimum, int64_t maximum) {
    loader_.Record(PathOf(key), IntegerSchema(minimum, maximum));
    Read(
        key, target,
        [=](const std::string& text) -> std::optional<int64_t> {
          int64_t value = 0;
          const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
          if (error != std::errc() || end != text.data() + text.size() || value < minimum || value > maximum) return {};
          return value;
        },
        "whole number from " + std::to_string(minimum) + " to " + std::to_string(maximum));
  }

  void ReadDecimal(std::string_view key, double& target, double minimum, double maximum, std::string_view kind) {
    loader_.Record(PathOf(key), NumberSchema());
    Read(
        key, target,
        [=](const std::string& text) -> std::optional<double> {
          double value = 0;
          const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
          const bool is_number = error == std::errc() && end == text.data() + text.size();
          if (!is_number || !(value >= minimum && value <= maximum)) return {};
          return value;
        },
        kind);
  }

  void ReadDuration(std::string_view key, int64_t& target_ms) {
    loader_.Record(PathOf(key), DurationSchema());
    Read(key, target_ms, ParseDurationMs, "duration such as 30s, 10m or 5d");
  }

  void ReadSize(std::string_view key, size_t& target) {
    loader_.Record(PathOf(key), SizeSchema());
    Read(key, target, ParseSizeBytes, "size such as 900KiB or 10MiB");
  }

  template <typename T>
  void ReadChoice(std::string_view key, T& target, std::initializer_list<std::pair<std::string_view, T>> choices) {
    std::string kind = "one of";
    std::vector<std::string_view> names;
    for (const auto& [name, value] : choices) {
      kind += " " + std::string(name);
      names.push_back(name);
    }
    loader_.Record(PathOf(key), ChoiceSchema(names));
    Read(
        key, target,
        [&](const std::string& text) -> std::optional<T> {
          for (const auto& [name, value] : choices) {
            if (name == text) return value;
          }
          return {};
        },
        kind);
  }

  void ReadPath(std::string_view key, std::string& target) {
    ReadString(key, target);
    target = loader_.Absolute(target);
  }

  // Each element of a sequence with its path; a scalar counts as one element.
  template <typename Visit>
  void ForEachText(std::string_view key, Visit visit) {
    loader_.Record(PathOf(key), TextsSchema());
    const YAML::Node node = Get(key);
    if (!node.IsDefined()) return;
    if (node.IsScalar()) {
      if (const auto text = loader_.ReadText(node, PathOf(key))) visit(*text, PathOf(key));
      return;
    }
    if (!node.IsSequence()) return loader_.Fail(loader_.MarkOf(node, PathOf(key)), PathOf(key), "must be a list");
    for (size_t i = 0; i < node.size(); ++i) {
      const std::string path = PathOf(key) + "." + std::to_string(i);
      if (const auto text = loader_.ReadText(node[i], path)) visit(*text, path);
    }
  }

  void ReadListen(std::string_view key, ListenConfig& target) {
    loader_.Record(PathOf(key), TextSchema());
    const YAML::Node node = Get(key);
    target.mark = node.IsDefined() ? loader_.MarkOf(node, PathOf(key)) : loader_.MarkOf(node_, path_);
    if (!node.IsDefined()) return;
    const auto text = loader_.ReadText(node, PathOf(key));
    if (!text) return;
    const size_t colon = text->value.rfind(':');
    unsigned port = 0;
    const char* end = text->value.data() + text->value.size();
    const bool valid = colon != std::string::npos && colon > 0 &&
                       std::from_chars(text->value.data() + colon + 1, end, port).ptr == end && port <= 65535 &&
                       colon + 1 < text->value.size();
    if (!valid) return NotA(*text, PathOf(key), "address and port such as 127.0.0.1:8080");
    target.address = text->value.substr(0, colon);
    if (target.address.front() == '[' && target.address.back() == ']') {
      target.address = target.address.substr(1, target.address.size() - 2);
    }
    target.port = static_cast<uint16_t>(port);
  }

  void NotA(const Text& text, const std::string& path, std::string_view kind) {
    std::string sentence = "\"" + text.value + "\"";
    if (!text.variables.empty()) sentence += " (from " + text.variables + ")";
    sentence += " is not ";
    const bool vowel = kind.front() == 'a' || kind.front() == 'o';
    if (!kind.starts_with("one of")) sentence += vowel ? "an " : "a ";
    loader_.Fail(text.mark, path, sentence + std::string(kind));
  }

  // Each entry of a mapping with free names, in the file's order.
  template <typename Visit>
  void ForEachEntry(Visit visit) {
    free_names_ = true;
    if (!node_.IsMap()) return;
    for (const auto& entry : node_) {
      if (CheckKey(entry.first)) visit(entry.first.Scalar(), entry.first, entry.second);
    }
  }

  // Unknown and duplicate keys.
  void Done() {
    if (!node_.IsMap() || free_names_) return;
    for (const auto& entry : node_) {
      if (!CheckKey(entry.first)) continue;
      const std::string& key = entry.first.Scalar();
      if (std::find(known_.begin(), known_.end(), key) != known_.end()) continue;
      std::string sentence = "unknown key";
      if (const auto nearest = NearestName(key, known_); !nearest.empty()) {
        sentence += "; did you mean \"" + std::string(nearest) + "\"?";
      }
      loader_.Fail(loader_.MarkOf(entry.first, PathOf(key)), PathOf(key), sentence);
    }
  }

  Loader& loader() { return loader_; }
  bool present() const { return node_.IsDefined() && !node_.IsNull(); }
  SourceMark mark() const { return loader_.MarkOf(node_, path_); }
  const std::string& path() const { return path_; }

 private:
  bool CheckKey(const YAML::Node& key) {
    if (!key.IsScalar()) {
      loader_.Fail(loader_.MarkOf(key, path_), path_, "a key must be a single word");
      return false;
    }
    const SourceMark mark = loader_.MarkOf(key, PathOf(key.Scalar()));
    const auto [first, is_new] = seen_.emplace(key.Scalar(), mark);
    if (is_new) return true;
    loader_.Fail(mark, PathOf(key.Scalar()), "duplicate key; it stands at " + first->second.ToString() + ", too");
    return false;
  }

  Loader& loader_;
  YAML::Node node_;
  const std::string path_;
  std::vector<std::string_view> known_;
  std::map<std::string, SourceMark> seen_;
  bool free_names_ = false;
};

void ReadQueue(Section section, QueueConfig& queue) {
  section.ReadChoice("type", queue.type,
                     {{"kafka", QueueConfig::Type::kKafka}, {"sqlite", QueueConfig::Type::kSqlite}});
  section.ReadString("recipient_key", queue.recipient_key);
  if (!queue.recipient_key.empty() && queue.recipient_key.size() < kMinRecipientKeyBytes) {
    section.loader().Fail(section.MarkOfKey("recipient_key"), section.PathOf("recipient_key"),
                          "is too short to keep a secret; make one of 16 bytes or more: openssl rand -hex 32");
  }
  Section kafka = section.Sub("kafka");
  kafka.ReadString("brokers", queue.kafka.brokers);
  kafka.ReadString("topic", queue.kafka.topic);
  kafka.ReadString("prefix", queue.kafka.prefix);
  kafka.ReadString("group_id", queue.kafka.group_id);
  Section passed_on = kafka.Sub("librdkafka");
  passed_on.ForEachEntry([&](const std::string& key, const YAML::Node&, const YAML::Node& value) {
    passed_on.loader().Record(passed_on.PathOf(key), TextSchema());
    if (const auto text = passed_on.loader().ReadText(value, passed_on.PathOf(key))) {
      queue.kafka.librdkafka[key] = text->value;
    }
  });
  kafka.Done();
  Section sqlite = section.Sub("sqlite");
  sqlite.ReadPath("path", queue.sqlite.path);
  sqlite.Done();
  section.Done();
}

void ReadPlugin(Section& section, PluginConfig& plugin) {
  Loader& loader = section.loader();
  plugin.mark = section.mark();
  plugin.base_dir = loader.base_dir();
  // Without quotes the name of the transport `null` is YAML's word for nothing.
  const bool is_null = section.Get("plugin").IsNull();
  if (is_null) {
    loader.Fail(section.MarkOfKey("plugin"), section.PathOf("plugin"),
                "has no value; of the plugin null write \"null\"");
  } else {
    section.ReadString("plugin", plugin.plugin);
  }
  if (plugin.plugin.empty() && !is_null) {
    loader.Fail(section.mark(), section.path(), "has no plugin; name one: `plugin: smtp`");
  }
  section.Read(
      "sha256", plugin.sha256,
      [](const std::string& text) -> std::optional<std::string> {
        const bool valid = text.size() == 64 && text.find_first_not_of("0123456789abcdef") == text.npos;
        return valid ? std::optional(text) : std::nullopt;
      },
      "SHA-256 as sha256sum prints it (64 hex digits, lower case)");
  plugin.sha256_mark = section.MarkOfKey("sha256");
  Section options = section.Sub("options");
  options.ForEachEntry([&](const std::string& key, const YAML::Node& name, const YAML::Node& value) {
    const std::string path = options.PathOf(key);
    loader.Record(path, TextsSchema());
    ConfiguredOption option;
    option.name = key;
    option.name_mark = loader.MarkOf(name, path);
    option.value_mark = loader.MarkOf(value, path);
    if (value.IsSequence()) {
      option.is_list = true;
      for (const auto& item : value) {
        if (auto text = loader.ReadText(item, path)) option.items.push_back(std::move(text->value));
      }
    } else if (auto text = loader.ReadText(value, path)) {
      option.text = std::move(text->value);
      option.variables = std::move(text->variables);
    }
    plugin.options.push_back(std::move(option));
  });
}

// `per_second` and `burst`.
void ReadRate(Section& section, double& per_second, double& burst) {
  section.ReadDecimal("per_second", per_second, 0.001, 1'000'000, "number of mails such as 200 or 0.5");
  section.ReadDecimal("burst", burst, 1, 1'000'000, "number of mails, 1 or more");
}

void ReadRateLimit(Section section, RateLimitConfig& limit) {
  Loader& loader = section.loader();
  ReadRate(section, limit.per_second, limit.burst);
  if (limit.burst > 0 && limit.per_second == 0) {
    loader.Fail(section.MarkOfKey("burst"), section.PathOf("burst"), "says nothing without per_second");
  }
  Section domains = section.Sub("per_domain");
  domains.ForEachEntry([&](const std::string& name, const YAML::Node& key, const YAML::Node& value) {
    Section one(loader, value, domains.PathOf(name));
    DomainRate rate{.domain = name, .per_second = 0, .burst = 0};
    ReadRate(one, rate.per_second, rate.burst);
    if (rate.per_second == 0) {
      loader.Fail(loader.MarkOf(key, one.path()), one.path(), "has no per_second: `{ per_second: 20 }`");
    }
    one.Done();
    limit.per_domain.push_back(std::move(rate));
  });
  section.Done();
}

void ReadTransports(Section section, std::vector<TransportConfig>& transports) {
  section.ForEachEntry([&](const std::string& name, const YAML::Node&, const YAML::Node& value) {
    TransportConfig& transport = transports.emplace_back();
    transport.name = name;
    Section one(section.loader(), value, section.PathOf(name));
    ReadPlugin(one, transport);
    Section breaker = one.Sub("breaker");
    breaker.ReadInteger("failures", transport.breaker.failures, 1, 1'000'000);
    breaker.ReadDuration("probe_after", transport.breaker.probe_after_ms);
    breaker.Done();
    ReadRateLimit(one.Sub("rate_limit"), transport.rate_limit);
    one.Done();
  });
  if (transports.empty()) {
    section.loader().Fail(section.mark(), "transports", "there must be at least one: `primary: { plugin: smtp, … }`");
  }
}

void ReadMatch(Section section, RouteMatch& match) {
  const auto read = [&](std::string_view key, std::vector<std::string>& patterns) {
    section.ForEachText(key, [&](const Text& text, const std::string& path) {
      if (text.value.empty()) section.loader().Fail(text.mark, path, "matches nothing; leave it out to match all");
      patterns.push_back(text.value);
    });
  };
  read("template", match.templates);
  read("type", match.types);
  section.ForEachText("priority", [&](const Text& text, const std::string& path) {
    if (text.value != "high" && text.value != "normal" && text.value != "low") {
      section.NotA(text, path, "one of high normal low");
    }
    match.priorities.push_back(text.value);
  });
  read("recipient_domain", match.recipient_domains);
  read("sender", match.senders);
  read("tag", match.tags);
  section.Done();
}

void ReadRoute(Section route, const std::vector<std::string_view>& names, RouteConfig& result) {
  Loader& loader = route.loader();
  result.mark = route.mark();
  const auto add = [&](const std::string& name, const SourceMark& mark, const std::string& path) {
    if (std::find(names.begin(), names.end(), name) == names.end()) {
      std::string sentence = "there is no transport \"" + name + "\"";
      if (const auto nearest = NearestName(name, names); !nearest.empty()) {
        sentence += "; did you mean \"" + std::string(nearest) + "\"?";
      }
      loader.Fail(mark, path, sentence);
    } else if (std::find(result.use.begin(), result.use.end(), name) != result.use.end()) {
      loader.Fail(mark, path, "\"" + name + "\" is named twice");
    }
    result.use.push_back(name);
  };
  ReadMatch(route.Sub("match"), result.match);
  route.ForEachText("use", [&](const Text& text, const std::string& path) { add(text.value, text.mark, path); });
  Section split = route.Sub("split");
  if (split.present() && !result.use.empty()) {
    loader.Fail(result.mark, route.path(), "has both use and split; one of them says where mails go");
  } else {
    uint64_t total = 0;
    split.ForEachEntry([&](const std::string& name, const YAML::Node& key, const YAML::Node&) {
      const std::string path = split.PathOf(name);
      add(name, loader.MarkOf(key, path), path);
      uint32_t weight = 0;
      split.ReadInteger(name, weight, 0, 1'000'000);
      result.weights.push_back(weight);
      total += weight;
    });
    if (split.present() && total == 0) loader.Fail(result.mark, split.path(), "has no weight above 0");
  }
  if (result.use.empty()) loader.Fail(result.mark, route.path(), "names no transport: `use: [primary]`");
  route.Done();
}

void ReadRoutes(const YAML::Node& node, Loader& loader, const std::vector<TransportConfig>& transports,
                std::vector<RouteConfig>& routes) {
  std::vector<std::string_view> names;
  for (const TransportConfig& transport : transports) names.push_back(transport.name);
  const SourceMark mark = loader.MarkOf(node, "routes");
  if (!node.IsDefined()) {
    if (names.size() == 1) {
      routes.push_back({.match = {}, .use = {std::string(names.front())}, .weights = {}, .mark = mark});
    } else if (names.size() > 1) {
      loader.Fail(mark, "routes",
                  "there are several transports; say which to use: `routes: [ { use: [" + std::string(names.front()) +
                      "] } ]`");
    }
    return;
  }
  if (!node.IsSequence() || node.size() == 0) {
    return loader.Fail(mark, "routes", "must be a list, its last route for all: `- { use: [primary] }`");
  }
  for (size_t i = 0; i < node.size(); ++i) {
    const std::string path = "routes." + std::to_string(i);
    RouteConfig& route = routes.emplace_back();
    ReadRoute(Section(loader, node[i], path), names, route);
    const bool last = i + 1 == node.size();
    const bool matches_all = !node[i].IsMap() || !node[i]["match"].IsDefined();
    if (last && !matches_all) {
      loader.Fail(route.mark, path,
                  "the last route must match all, so that no event is without one: leave out its match");
    } else if (!last && matches_all) {
      loader.Fail(route.mark, path, "matches all, so the routes after it are never used: give it a match");
    }
  }
}

void ReadRetry(Section section, RetryConfig& retry) {
  section.ReadInteger("max_retries_limit", retry.max_retries_limit, 0, 1000);
  section.ReadInteger("max_retries", retry.max_retries, 0, retry.max_retries_limit);
  section.ReadDuration("max_age", retry.max_age_ms);
  std::vector<int64_t> backoff;
  section.ForEachText("backoff", [&](const Text& text, const std::string& path) {
    if (const auto ms = ParseDurationMs(text.value); ms && *ms > 0) return backoff.push_back(*ms);
    section.NotA(text, path, "duration such as 30s, 10m or 5d");
  });
  if (!backoff.empty()) retry.backoff_ms = std::move(backoff);
  section.ReadChoice("in_doubt", retry.in_doubt,
                     {{"retry", WhenInDoubt::kRetry}, {"dead_letter", WhenInDoubt::kDeadLetter}});
  section.Done();
}

// The mailbox at `key`, checked and as it is written; "" is none.
void ReadMailbox(Section& section, std::string_view key, Loader& loader, std::string& target) {
  const std::string path = section.PathOf(key);
  loader.Record(path, TextSchema());
  const YAML::Node node = section.Get(key);
  if (!node.IsDefined()) return;
  const auto text = loader.ReadText(node, path);
  if (!text || text->value.empty()) return;
  if (auto mailbox = ParseMailbox(text->value); !mailbox.ok()) {
    loader.Fail(text->mark, path, std::string(mailbox.status().message()));
  }
  target = text->value;
}

void ReadRecipients(Section section, Loader& loader, RecipientsConfig& recipients) {
  ReadMailbox(section, "redirect_to", loader, recipients.redirect_to);
  if (section.Get("allow").IsDefined()) {
    recipients.allow.clear();
    section.ForEachText("allow", [&](const Text& text, const std::string& path) {
      if (text.value.find_first_of("@*") == std::string::npos) {
        loader.Fail(text.mark, path, "\"" + text.value + "\" matches no address; write *@" + text.value);
      }
      recipients.allow.push_back(text.value);
    });
    if (recipients.allow.empty()) {
      loader.Fail(section.MarkOfKey("allow"), section.PathOf("allow"), "is empty: nobody could get a mail");
    }
  }
  const RecipientPolicy policy(recipients);
  if (policy.redirect_to() != nullptr && !policy.Allows(policy.redirect_to()->address)) {
    loader.Fail(section.MarkOfKey("redirect_to"), section.PathOf("redirect_to"), "is not among recipients.allow");
  }
  section.Done();
}

void ReadRoot(Section root, Loader& loader, Config& config) {
  // What else is wrong in a file of another version says nothing.
  const YAML::Node given = root.Get("version");
  if (given.IsDefined() && given.IsScalar() && given.Scalar().find_first_not_of("0123456789") == std::string::npos &&
      given.Scalar() != "1" && !given.Scalar().empty()) {
    return loader.Fail(loader.MarkOf(given, "version"), "version",
                       "is " + given.Scalar() +
                           "; this postbus reads version 1: start the postbus the file was "
                           "written for, or write it anew for this one (docs/upgrading.md)");
  }
  int version = 0;
  root.ReadInteger("version", version, 1, 1);
  if (version == 0 && !root.Get("version").IsDefined()) {
    loader.Fail(root.mark(), "version", "is missing; this postbus reads `version: 1`");
  }
  ReadQueue(root.Sub("queue"), config.queue);
  root.ReadPath("state_dir", config.queue.state_dir);

  Section defaults = root.Sub("defaults");
  ReadMailbox(defaults, "from", loader, config.defaults_from);
  defaults.Done();

  Section host = root.Sub("host");
  host.ReadInteger("max_in_flight", config.host.max_in_flight, 1, 1'000'000);
  host.ReadInteger("threads", config.host.threads, 1, 64);
  host.ReadDuration("drain_timeout", config.host.drain_timeout_ms);
  host.Done();

  Section plugins = root.Sub("plugins");
  plugins.ForEachText("directories", [&](const Text& text, const std::string&) {
    config.plugin_directories.push_back(loader.Absolute(text.value));
  });
  plugins.Done();

  Section renderer = root.Sub("renderer");
  ReadPlugin(renderer, config.renderer);
  renderer.Done();
  ReadTransports(root.Sub("transports"), config.transports);
  ReadRoutes(root.Get("routes"), loader, config.transports, config.routes);
  ReadRetry(root.Sub("retry"), config.retry);
  config.queue.at_most_once = config.retry.in_doubt == WhenInDoubt::kDeadLetter;

  ReadRecipients(root.Sub("recipients"), loader, config.recipients);

  Section limits = root.Sub("limits");
  limits.ReadSize("max_event", config.limits.max_bytes);
  config.queue.max_event_bytes = config.limits.max_bytes;
  limits.Done();

  Section api = root.Sub("api");
  api.ReadListen("listen", config.api);
  api.Done();
  Section admin = root.Sub("admin");
  admin.ReadListen("listen", config.admin);
  admin.Done();

  Section log = root.Sub("log");
  std::string_view level = "info";
  log.ReadChoice<std::string_view>("level", level,
                                   {{"debug", "debug"}, {"info", "info"}, {"warning", "warning"}, {"error", "error"}});
  config.log.level = level;
  log.ReadChoice(
      "format", config.log.format,
      {{"auto", LogConfig::Format::kAuto}, {"text", LogConfig::Format::kText}, {"json", LogConfig::Format::kJson}});
  log.Done();
  root.Done();
}

void ReadKafkaEnabled(const Environment& environment, Loader& loader, QueueConfig& queue) {
  const auto enabled = ParseKafkaEnabled(environment("KAFKA_ENABLED").value_or(""));
  if (!enabled.ok()) return loader.Fail({.file = loader.file()}, "queue", std::string(enabled.status().message()));
  queue.kafka_enabled = *enabled;
  if (*enabled == KafkaEnabled::kTrue) queue.type = QueueConfig::Type::kKafka;
}

// Puts `value` at `path` of the tree, making mappings on the way.
Status Override(YAML::Node root, const std::string& path, const YAML::Node& value) {
  YAML::Node node = root;
  size_t begin = 0;
  while (true) {
    const size_t dot = path.find('.', begin);
    const std::string key = path.substr(begin, dot - begin);
    if (key.empty()) return Status::Invalid("--set " + path + ": an empty key");
    if (node.IsDefined() && !node.IsNull() && !node.IsMap()) {
      return Status::Invalid("--set " + path + ": \"" + path.substr(0, begin == 0 ? 0 : begin - 1) +
                             "\" is no mapping");
    }
    if (dot == std::string::npos) {
      node[key] = value;
      return {};
    }
    node.reset(node[key]);
    begin = dot + 1;
  }
}

}  // namespace

std::vector<ConfigKey> ConfigKeys() {
  // Whatever is only looked into where it is there.
  constexpr const char* kOneOfEach = R"(
queue: { kafka: { librdkafka: { "*": "" } } }
renderer: { plugin: p, options: { "*": "" } }
transports: { "*": { plugin: p, options: { "*": "" }, rate_limit: { per_domain: { "*": { } } } } }
routes: [ { split: { "*": 1 } } ]
recipients: { allow: ["*"] }
)";
  std::vector<ConfigKey> keys;
  const Environment nothing_is_set = [](std::string_view) { return std::nullopt; };
  Loader loader("postbus.yaml", nothing_is_set);
  loader.RecordKeys(keys);
  Config ignored;
  ReadRoot(Section(loader, YAML::Load(kOneOfEach), ""), loader, ignored);
  return keys;
}

std::optional<std::string> ProcessEnvironment(std::string_view name) {
  const char* value = std::getenv(std::string(name).c_str());
  if (value == nullptr) return std::nullopt;
  return value;
}

Result<std::string> Substitute(std::string_view text, const std::string& base_dir, const Environment& environment,
                               std::string& variables) {
  std::string out;
  for (size_t i = 0; i < text.size();) {
    if (text[i] != '$') {
      out += text[i++];
      continue;
    }
    if (text.substr(i, 2) == "$$") {
      out += '$';
      i += 2;
      continue;
    }
    const size_t close = text.find('}', i);
    if (text.substr(i, 2) != "${" || close == text.npos) {
      return Status::Invalid(
          "a \"$\" begins ${NAME}, ${NAME:-default} or ${file:path}; write $$ for the character itself");
    }
    const std::string_view inside = text.substr(i + 2, close - i - 2);
    i = close + 1;
    if (!variables.empty()) variables += ", ";
    if (inside.starts_with("file:")) {
      const fs::path path = fs::path(base_dir) / inside.substr(5);
      std::optional<std::string> content = ReadFile(path.string());
      if (!content) return Status::Invalid("cannot read the file " + path.string());
      while (!content->empty() && (content->back() == '\n' || content->back() == '\r')) content->pop_back();
      out += *content;
      variables += inside;
      continue;
    }
    const size_t mark = inside.find(":-");
    const std::string_view name = inside.substr(0, mark);
    if (name.empty()) return Status::Invalid("${} has no name");
    variables += name;
    const auto value = environment(name);
    if (value && (mark == inside.npos || !value->empty())) {
      out += *value;
    } else if (mark != inside.npos) {
      out += inside.substr(mark + 2);
    } else {
      return Status::Invalid("the variable " + std::string(name) + " is not set; set it, or write ${" +
                             std::string(name) + ":-default}");
    }
  }
  return out;
}

Result<Config> LoadConfig(const std::string& path, std::span<const std::string> overrides,
                          const Environment& environment) {
  Loader loader(path, environment);
  const std::optional<std::string> text = ReadFile(path);
  if (!text) return Status::NotFound(path + ": cannot be read; give the configuration with -c FILE");
  YAML::Node tree;
  try {
    tree = YAML::Load(*text);
    for (const std::string& assignment : overrides) {
      const size_t equals = assignment.find('=');
      if (equals == std::string::npos) return Status::Invalid("--set " + assignment + ": must be key.path=value");
      const std::string key = assignment.substr(0, equals);
      if (Status status = Override(tree, key, YAML::Load(assignment.substr(equals + 1))); !status.ok()) return status;
      loader.MarkOverridden(key);
    }
    Config config;
    config.file = path;
    config.queue.sqlite.path = loader.Absolute(config.queue.sqlite.path);
    config.queue.state_dir = loader.Absolute(config.queue.state_dir);
    ReadRoot(Section(loader, tree, ""), loader, config);
    ReadKafkaEnabled(environment, loader, config.queue);
    if (Status status = loader.Outcome(); !status.ok()) return status;
    return config;
  } catch (const YAML::Exception& error) {
    const SourceMark mark{.file = path, .line = error.mark.line + 1, .column = error.mark.column + 1};
    return Status::Invalid(mark.ToString() + ": " + error.msg);
  }
}

}  // namespace postbus
