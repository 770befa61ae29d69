// plugins/ses-stub/verdict.h - what an answer of SES v2 means for the mail. Pure.
#pragma once

#include "plugins/ses-stub/account.h"
#include "postbus/plugin.hpp"

namespace postbus::ses_stub {

// | answer                                                            | outcome                                      |
// | 200 with MessageId                                                | ACCEPTED                                     |
// | 429 or ThrottlingException: daily quota                           | PROVIDER_FAULT, again after 10 minutes       |
// | 429 or ThrottlingException else                                   | THROTTLED                                    |
// | AccountSuspended, SendingPaused, MailFromDomainNotVerified, 401, 403 | PROVIDER_FAULT                            |
// | MessageRejected and other 4xx                                     | REJECTED_MESSAGE                             |
// | 500, 503 and other 5xx                                            | PROVIDER_FAULT                               |
// | 502, 504, 2xx without MessageId, anything else                    | IN_DOUBT                                     |
sdk::Outcome VerdictOf(const Answer& answer);

}  // namespace postbus::ses_stub
