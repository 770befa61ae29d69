// host/attempt_result.h - a transport's postbus_result, copied so that it outlives the call. Reused: keeps capacity.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "postbus/abi/outcome.h"

namespace postbus {

struct RecipientOutcome {
  uint32_t recipient = 0;  // index into the mail's envelope recipients
  int32_t outcome = 0;
  int32_t phase = 0;
  int code = 0;
  std::array<uint16_t, 3> enhanced{};
  std::string text;

  // "4.2.1", or "" without a class.
  std::string EnhancedText() const;
};

class AttemptResult {
 public:
  // Outcomes out of range count as IN_DOUBT: nothing is known of them; indexes out of range are ignored.
  void Assign(const postbus_result& result, uint32_t n_recipients);

  // The outcome of recipient `index`: its own, or the mail's.
  const RecipientOutcome& of(uint32_t index) const;

  uint64_t retry_after_ms() const { return retry_after_ms_; }
  const std::string& provider_id() const { return provider_id_; }

 private:
  RecipientOutcome mail_;
  std::vector<RecipientOutcome> recipients_;  // the first n_recipients_ are of this attempt
  size_t n_recipients_ = 0;
  uint64_t retry_after_ms_ = 0;
  std::string provider_id_;
};

}  // namespace postbus
