// plugins/smtp/verdict.h - what a reply, or the lack of one, means for a mail. README.md has the table with reasons;
// tests/plugins/smtp/verdicts.golden has all of it. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "plugins/smtp/reply.h"

namespace postbus::smtp {

// The POSTBUS_ outcome of a reply in a phase. POSTBUS_ACCEPTED: the server agreed to this step; at the final dot, took
// the mail. 0: it makes no sense here, so server and client are out of step.
int32_t OutcomeOfReply(int32_t phase, const Reply& reply);

// The outcome if no usable reply came in a phase: connection lost, timeout, garbage. In phase FINAL_DOT the dot was, or
// may have been, written.
int32_t OutcomeOfLoss(int32_t phase);

// A refusal at RCPT that means "not in this transaction": the recipient may do in another one.
bool IsTooManyRecipients(const Reply& reply);

// Appends a server's words as one line of valid UTF-8 without addresses (servers echo them): each word with an @, and
// all inside <> around it, becomes `<address>`. Cut at 512 bytes.
void AppendWords(std::string_view text, std::string& out);

// The id the next hop gave the mail, as Postfix, Exim, Sendmail, OpenSMTPD, Exchange and Amazon SES write it into the
// reply to the final dot; empty: none found.
std::string_view ProviderId(std::string_view text);

}  // namespace postbus::smtp
