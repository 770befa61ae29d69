// host/recipient_policy.h - who may really get mail: recipients.redirect_to and recipients.allow, so that staging never
// writes to a customer. Immutable; thread-safe.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "event/address.h"
#include "host/config.h"

namespace postbus {

class RecipientPolicy {
 public:
  // REQUIRES: config_load has checked it.
  explicit RecipientPolicy(const RecipientsConfig& config);

  // The one recipient every mail goes to instead of its own; nullptr: it goes to its own.
  const Mailbox* redirect_to() const { return redirect_to_ ? &*redirect_to_ : nullptr; }

  // May mail go to this address?
  bool Allows(std::string_view address) const;

 private:
  std::optional<Mailbox> redirect_to_;
  std::vector<std::string> allow_;
  bool allows_all_;
};

}  // namespace postbus
