#include "host/recipient_policy.h"

#include <algorithm>

#include "host/a_labels.h"
#include "host/glob.h"

namespace postbus {

RecipientPolicy::RecipientPolicy(const RecipientsConfig& config)
    : allow_(config.allow), allows_all_(std::find(allow_.begin(), allow_.end(), "*") != allow_.end()) {
  if (auto mailbox = ParseMailbox(config.redirect_to); mailbox.ok()) redirect_to_ = std::move(*mailbox);
  if (redirect_to_) WriteDomainInAscii(redirect_to_->address);
}

bool RecipientPolicy::Allows(std::string_view address) const {
  return allows_all_ || std::any_of(allow_.begin(), allow_.end(), [&](const std::string& glob) {
           return GlobMatches(glob, address, /*match_case=*/false);
         });
}

}  // namespace postbus
