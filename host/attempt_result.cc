#include "host/attempt_result.h"

#include <algorithm>

namespace postbus {
namespace {

constexpr size_t kMaxTextBytes = 4096;

template <typename AbiResult>
void Copy(const AbiResult& from, RecipientOutcome& to) {
  to.outcome = from.outcome >= POSTBUS_ACCEPTED && from.outcome <= POSTBUS_IN_DOUBT ? from.outcome : POSTBUS_IN_DOUBT;
  to.phase = from.phase;
  to.code = from.code;
  std::copy_n(from.enhanced, 3, to.enhanced.begin());
  to.text.assign(from.text.data == nullptr ? "" : from.text.data, std::min(from.text.size, kMaxTextBytes));
}

}  // namespace

std::string RecipientOutcome::EnhancedText() const {
  if (enhanced[0] == 0) return {};
  return std::to_string(enhanced[0]) + "." + std::to_string(enhanced[1]) + "." + std::to_string(enhanced[2]);
}

void AttemptResult::Assign(const postbus_result& result, uint32_t n_recipients) {
  Copy(result, mail_);
  retry_after_ms_ = result.retry_after_ms;
  provider_id_.assign(result.provider_id.data == nullptr ? "" : result.provider_id.data,
                      std::min(result.provider_id.size, kMaxTextBytes));
  n_recipients_ = 0;
  for (uint32_t i = 0; i < result.n_recipients; ++i) {
    const postbus_recipient_result* from = result.recipients[i];
    if (from == nullptr || from->recipient >= n_recipients) continue;
    if (n_recipients_ == recipients_.size()) recipients_.emplace_back();
    RecipientOutcome& to = recipients_[n_recipients_++];
    Copy(*from, to);
    to.recipient = from->recipient;
  }
}

const RecipientOutcome& AttemptResult::of(uint32_t index) const {
  for (size_t i = 0; i < n_recipients_; ++i) {
    if (recipients_[i].recipient == index) return recipients_[i];
  }
  return mail_;
}

}  // namespace postbus
