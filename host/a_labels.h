// host/a_labels.h - internationalised domains as every mail server takes them: A-labels (IDNA 2008, non-transitional
// UTS 46), `post@xn--bcher-kva.example` for `post@bücher.example`. Pure functions.
#pragma once

#include <string>

#include "event/email_event.h"

namespace postbus {

// Rewrites the domain of `address`. Left as they are: an address whose local part is not ASCII, which needs a server
// with SMTPUTF8 anyway, and a domain that breaks the rules.
void WriteDomainInAscii(std::string& address);

// The same for all addresses of an event.
void WriteDomainsInAscii(EmailEvent& event);

}  // namespace postbus
