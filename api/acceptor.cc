#include "api/acceptor.h"

#include <utility>

namespace postbus {

Acceptor::Acceptor(const EventLimits& limits, std::string default_from)
    : default_from_(std::move(default_from)), decoder_(limits) {}

bool Acceptor::Accept(std::string_view json, int64_t now_unix_ms, std::string_view fixed_id) {
  const bool valid = EventDecoder::LooksLikeMessage(json) ? decoder_.DecodeMessage(json, Strictness::kApi, event_)
                                                          : decoder_.Decode(json, Strictness::kApi, event_);
  if (!valid) {
    violations_ = decoder_.violations();
    return false;
  }
  if (event_.from.address.empty() && default_from_.empty()) {
    violations_ = {{.pointer = "/from", .detail = "is missing, and the configuration has no defaults.from"}};
    return false;
  }
  if (!fixed_id.empty() && !event_.id.empty()) {
    violations_ = {{.pointer = "/id", .detail = "the Idempotency-Key fixes the id: leave one of them out"}};
    return false;
  }
  if (const auto violation = ScheduleViolation(event_, now_unix_ms)) {
    violations_ = {*violation};
    return false;
  }
  id_ = !fixed_id.empty() ? fixed_id : !event_.id.empty() ? event_.id : NewEventId();
  value_.clear();
  EncodeAccepted(json, event_,
                 {.id = id_,
                  .timestamp_unix_ms = event_.timestamp_unix_ms != 0 ? event_.timestamp_unix_ms : now_unix_ms,
                  .default_from = default_from_},
                 value_);
  return true;
}

}  // namespace postbus
