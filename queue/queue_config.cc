#include "queue/queue_config.h"

namespace postbus {

Result<KafkaEnabled> ParseKafkaEnabled(std::string_view value) {
  if (value.empty()) return KafkaEnabled::kUnset;
  if (value == "true") return KafkaEnabled::kTrue;
  if (value == "false") return KafkaEnabled::kFalse;
  return Status::Invalid("the variable KAFKA_ENABLED must be true or false, or not be set");
}

std::string_view KafkaEnabledName(KafkaEnabled enabled) {
  if (enabled == KafkaEnabled::kUnset) return "unset";
  return enabled == KafkaEnabled::kTrue ? "true" : "false";
}

std::string KafkaConfig::Prefix() const {
  if (!prefix.empty()) return prefix;
  constexpr std::string_view kSuffix = "-queue";
  std::string_view name = topic;
  if (name.ends_with(kSuffix) && name.size() > kSuffix.size()) name.remove_suffix(kSuffix.size());
  return std::string(name);
}

}  // namespace postbus
