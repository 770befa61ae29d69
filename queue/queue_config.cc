#include "queue/queue_config.h"

#include <string_view>

namespace postbus {

std::string KafkaConfig::Prefix() const {
  if (!prefix.empty()) return prefix;
  constexpr std::string_view kSuffix = "-queue";
  std::string_view name = topic;
  if (name.ends_with(kSuffix) && name.size() > kSuffix.size()) name.remove_suffix(kSuffix.size());
  return std::string(name);
}

}  // namespace postbus
