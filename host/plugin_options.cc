#include "host/plugin_options.h"

#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <deque>
#include <filesystem>
#include <limits>
#include <utility>
#include <vector>

#include "host/plugin_calls.h"

namespace postbus {
namespace {

constexpr int64_t kMaxInteger = std::numeric_limits<int64_t>::max();

struct Unit {
  std::string_view name;
  int64_t factor;
};
// Largest first.
constexpr Unit kDurationUnits[] = {{"d", 86'400'000}, {"h", 3'600'000}, {"m", 60'000}, {"s", 1'000}, {"ms", 1}};
constexpr Unit kSizeUnits[] = {{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"B", 1}};

// Takes a number off the front; nullopt if there is none or it does not fit.
std::optional<int64_t> TakeNumber(std::string_view& text) {
  if (text.empty() || text.front() < '0' || text.front() > '9') return std::nullopt;
  int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc()) return std::nullopt;
  text.remove_prefix(static_cast<size_t>(end - text.data()));
  return number;
}

std::optional<int64_t> Times(int64_t number, int64_t factor) {
  if (number > kMaxInteger / factor) return std::nullopt;
  return number * factor;
}

// In the largest unit that leaves no rest.
std::string InUnits(int64_t amount, std::span<const Unit> units) {
  for (const Unit& unit : units) {
    if (amount != 0 && amount % unit.factor == 0) return std::to_string(amount / unit.factor) + std::string(unit.name);
  }
  return "0";
}

bool IsBounded(const postbus_option& option) { return option.minimum != 0 || option.maximum != 0; }

bool IsInside(const postbus_option& option, int64_t value) {
  return !IsBounded(option) || (value >= option.minimum && value <= option.maximum);
}

std::string RangeInBrackets(const postbus_option& option) {
  const std::string range = OptionRange(option);
  return range.empty() ? range : " (" + range + ")";
}

std::string IntegerSentence(const postbus_option& option) {
  const std::string_view unit = PluginText(option.unit);
  std::string sentence = "is not a number";
  if (unit == "port") {
    sentence = "is not a port";
  } else if (!unit.empty()) {
    sentence += " of " + std::string(unit);
  }
  return sentence + RangeInBrackets(option);
}

std::optional<int64_t> ParseInteger(std::string_view text) {
  int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return number;
}

// The number of a type that has one; nullopt: `text` is none, or out of bounds.
std::optional<int64_t> NumberOf(const postbus_option& option, std::string_view text) {
  std::optional<int64_t> number;
  switch (option.type) {
    case POSTBUS_OPTION_INTEGER:
      number = ParseInteger(text);
      break;
    case POSTBUS_OPTION_DURATION:
      number = ParseDurationMs(text);
      break;
    case POSTBUS_OPTION_SIZE:
      number = ParseSizeBytes(text);
      break;
    case POSTBUS_OPTION_BOOLEAN:
      if (text == "true") return 1;
      if (text == "false") return 0;
      return std::nullopt;
    default:
      return 0;
  }
  if (number && !IsInside(option, *number)) return std::nullopt;
  return number;
}

}  // namespace

struct PluginOptions::Impl {
  std::deque<std::string> texts;  // what the values point to; never moved
  std::deque<std::vector<postbus_str>> items;
  std::vector<postbus_value> values;
  std::vector<const postbus_value*> pointers;
  postbus_options view = {};

  postbus_str Keep(std::string text) { return AbiText(texts.emplace_back(std::move(text))); }

  // REQUIRES: OptionTextProblem(option, text) is empty.
  void SetText(postbus_value& value, const postbus_option& option, std::string_view text, const std::string& base_dir) {
    value.integer = NumberOf(option, text).value_or(0);
    if (option.type == POSTBUS_OPTION_PATH && !text.empty()) {
      value.string = Keep((std::filesystem::path(base_dir) / text).lexically_normal().string());
    } else if (option.type == POSTBUS_OPTION_STRING || option.type == POSTBUS_OPTION_ENUM) {
      value.string = Keep(std::string(text));
    }
  }

  void SetItems(postbus_value& value, std::span<const std::string> texts_of_items) {
    std::vector<postbus_str>& kept = items.emplace_back();
    for (const std::string& item : texts_of_items) kept.push_back(Keep(item));
    value.items = kept.data();
    value.n_items = static_cast<uint32_t>(kept.size());
  }
};

PluginOptions::PluginOptions() : impl_(std::make_unique<Impl>()) {}
PluginOptions::PluginOptions(PluginOptions&&) noexcept = default;
PluginOptions& PluginOptions::operator=(PluginOptions&&) noexcept = default;
PluginOptions::~PluginOptions() = default;

const postbus_options& PluginOptions::view() const { return impl_->view; }

std::string PluginOptions::Fingerprint(std::span<const postbus_option* const> table) const {
  std::string all;
  const auto add = [&all](std::string_view text) { all += std::to_string(text.size()) + ':' + std::string(text); };
  for (size_t i = 0; i < impl_->values.size(); ++i) {
    const postbus_value& value = impl_->values[i];
    add(std::to_string(value.integer));
    add(PluginText(value.string));
    if (table[i]->type == POSTBUS_OPTION_PATH) add(FileIdentity(PluginText(value.string)));
    add(std::to_string(value.n_items));
    for (uint32_t item = 0; item < value.n_items; ++item) add(PluginText(value.items[item]));
  }
  return all;
}

std::string FileIdentity(const std::filesystem::path& path) {
  struct stat file {};
  if (::stat(path.c_str(), &file) != 0 || !S_ISREG(file.st_mode)) return {};
  std::string identity =
      std::to_string(file.st_dev) + "." + std::to_string(file.st_ino) + "." + std::to_string(file.st_size);
  for (const timespec& time : {file.st_mtim, file.st_ctim}) {
    identity += "." + std::to_string(time.tv_sec) + "." + std::to_string(time.tv_nsec);
  }
  return identity;
}

std::string OptionRange(const postbus_option& option) {
  if (!IsBounded(option)) return {};
  const auto written = [&](int64_t bound) {
    if (option.type == POSTBUS_OPTION_DURATION) return InUnits(bound, kDurationUnits);
    if (option.type == POSTBUS_OPTION_SIZE) return InUnits(bound, kSizeUnits);
    return std::to_string(bound);
  };
  return written(option.minimum) + "–" + written(option.maximum);
}

std::vector<std::string_view> OptionChoices(const postbus_option& option) {
  std::vector<std::string_view> choices;
  std::string_view rest = PluginText(option.choices);
  while (true) {
    const size_t bar = rest.find('|');
    choices.push_back(rest.substr(0, bar));
    if (bar == std::string_view::npos) return choices;
    rest.remove_prefix(bar + 1);
  }
}

std::string OptionTextProblem(const postbus_option& option, std::string_view text) {
  if (option.type == POSTBUS_OPTION_ENUM) {
    const std::vector<std::string_view> choices = OptionChoices(option);
    if (std::find(choices.begin(), choices.end(), text) != choices.end()) return {};
    std::string sentence = "is not one of";
    for (const std::string_view choice : choices) {
      sentence += (choice == choices.front() ? " " : ", ") + std::string(choice);
    }
    return sentence;
  }
  if (NumberOf(option, text)) return {};
  switch (option.type) {
    case POSTBUS_OPTION_INTEGER:
      return IntegerSentence(option);
    case POSTBUS_OPTION_DURATION:
      return "is not a duration such as 30s or 1h30m" + RangeInBrackets(option);
    case POSTBUS_OPTION_SIZE:
      return "is not a size such as 512, 900KiB or 10MiB" + RangeInBrackets(option);
    default:
      return "is not true or false";
  }
}

Result<PluginOptions> PluginOptions::Parse(std::span<const postbus_option* const> table, const PluginConfig& config,
                                           const std::string& where, std::string_view plugin_id) {
  std::vector<std::string_view> names;
  for (const postbus_option* option : table) names.push_back(PluginText(option->name));

  // Unknown names first: a misspelt one is the reason why another is missing.
  std::vector<const ConfiguredOption*> configured(table.size());
  for (const ConfiguredOption& given : config.options) {
    const auto found = std::find(names.begin(), names.end(), given.name);
    if (found != names.end()) {
      configured[static_cast<size_t>(found - names.begin())] = &given;
      continue;
    }
    std::string message =
        given.name_mark.ToString() + ": " + where + "." + Printable(given.name, 64) + ": unknown option of ";
    message += plugin_id;
    if (const std::string_view near = NearestName(given.name, names); !near.empty()) {
      message += "; did you mean " + InQuotes(near) + "?";
    } else if (names.empty()) {
      message += ", which has none";
    } else {
      message += "; it has";
      for (const std::string_view name : names) message += (name == names.front() ? " " : ", ") + std::string(name);
    }
    return Status::Invalid(std::move(message));
  }

  PluginOptions options;
  Impl& impl = *options.impl_;
  for (size_t i = 0; i < table.size(); ++i) {
    const postbus_option& option = *table[i];
    const ConfiguredOption* const given = configured[i];
    const bool is_list = option.type == POSTBUS_OPTION_LIST;
    const bool is_required = (option.flags & POSTBUS_OPTION_REQUIRED) != 0;
    const auto refuse = [&](const std::string& problem) {
      return Status::Invalid((given == nullptr ? config.mark : given->value_mark).ToString() + ": " + where + "." +
                             std::string(names[i]) + ": " + problem);
    };
    const auto needed = [&] {
      return std::string(plugin_id) + " needs it: " + std::string(PluginText(option.description));
    };

    postbus_value& value = impl.values.emplace_back();
    value.size = sizeof(postbus_value);
    value.is_default = given == nullptr ? 1 : 0;
    if (given == nullptr) {
      if (is_required) return refuse("missing, and " + needed());
      impl.SetText(value, option, PluginText(option.default_value), config.base_dir);
      continue;
    }
    const std::string origin = given->variables.empty() ? "" : " (from " + given->variables + ")";
    if (given->is_list != is_list) return refuse(is_list ? "must be a list" : "must be one value, not a list");
    if (is_required && (is_list ? given->items.empty() : given->text.empty())) {
      return refuse("empty" + origin + ", but " + needed());
    }
    if (is_list) {
      impl.SetItems(value, given->items);
      continue;
    }
    if (const std::string problem = OptionTextProblem(option, given->text); !problem.empty()) {
      const bool is_secret = (option.flags & POSTBUS_OPTION_SECRET) != 0;
      return refuse((is_secret ? "the secret value" : InQuotes(given->text)) + origin + " " + problem);
    }
    impl.SetText(value, option, given->text, config.base_dir);
  }

  for (const postbus_value& value : impl.values) impl.pointers.push_back(&value);
  impl.view = {.size = sizeof(postbus_options),
               .n_values = static_cast<uint32_t>(impl.pointers.size()),
               .values = impl.pointers.data()};
  return options;
}

std::optional<int64_t> ParseDurationMs(std::string_view text) {
  int64_t total_ms = 0;
  std::span<const Unit> allowed = kDurationUnits;  // each unit at most once, larger ones first
  do {
    const std::optional<int64_t> number = TakeNumber(text);
    if (!number) return std::nullopt;
    const std::string_view name = text.substr(0, text.find_first_of("0123456789"));
    const auto unit = std::find_if(allowed.begin(), allowed.end(), [&](const Unit& u) { return u.name == name; });
    if (unit == allowed.end()) return std::nullopt;
    const std::optional<int64_t> part_ms = Times(*number, unit->factor);
    if (!part_ms || *part_ms > kMaxInteger - total_ms) return std::nullopt;
    total_ms += *part_ms;
    allowed = {unit + 1, allowed.end()};
    text.remove_prefix(name.size());
  } while (!text.empty());
  return total_ms;
}

std::optional<int64_t> ParseSizeBytes(std::string_view text) {
  const std::optional<int64_t> number = TakeNumber(text);
  if (!number) return std::nullopt;
  if (text.empty()) return number;
  for (const Unit& unit : kSizeUnits) {
    if (text == unit.name) return Times(*number, unit.factor);
  }
  return std::nullopt;
}

// Optimal string alignment: insertions, deletions, substitutions and swaps of neighbours ("prot" for "port") cost one.
std::string_view NearestName(std::string_view text, std::span<const std::string_view> known) {
  constexpr size_t kMaxSize = 64;
  if (text.size() > kMaxSize) return {};
  std::string_view nearest;
  size_t least = std::numeric_limits<size_t>::max();
  for (const std::string_view name : known) {
    if (name.size() > kMaxSize) continue;
    std::array<std::array<size_t, kMaxSize + 1>, kMaxSize + 1> distance;
    for (size_t i = 0; i <= text.size(); ++i) distance[i][0] = i;
    for (size_t j = 0; j <= name.size(); ++j) distance[0][j] = j;
    for (size_t i = 1; i <= text.size(); ++i) {
      for (size_t j = 1; j <= name.size(); ++j) {
        const size_t substituted = distance[i - 1][j - 1] + (text[i - 1] == name[j - 1] ? 0 : 1);
        distance[i][j] = std::min({substituted, distance[i - 1][j] + 1, distance[i][j - 1] + 1});
        if (i > 1 && j > 1 && text[i - 1] == name[j - 2] && text[i - 2] == name[j - 1]) {
          distance[i][j] = std::min(distance[i][j], distance[i - 2][j - 2] + 1);
        }
      }
    }
    const size_t differing = distance[text.size()][name.size()];
    if (differing * 3 <= std::max(text.size(), name.size()) && differing < least) {
      least = differing;
      nearest = name;
    }
  }
  return nearest;
}

}  // namespace postbus
