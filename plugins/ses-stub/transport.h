// plugins/ses-stub/transport.h - a rehearsal of Amazon SES: the account's rules and answers, no network. Every request
// is a line of <directory>/requests.jsonl, every accepted mail a file <MessageId>.eml beside it.
#pragma once

#include <array>
#include <string>
#include <string_view>

#include "plugins/output_directory.h"
#include "plugins/ses-stub/account.h"
#include "postbus/blocking_transport.hpp"

namespace postbus::ses_stub {

inline constexpr std::array kOptions = {
    sdk::PathOption("directory", "Where requests.jsonl and the mails go; made if it is not there.").Required(),
    sdk::EnumOption("account", "active|sending_paused|suspended",
                    "State of the account; every mail to one that is not active fails, as after a complaint too many.")
        .Default("active"),
    sdk::ListOption("verified_identities",
                    "Sender addresses and domains SES lets pass; with an empty list all of them."),
    sdk::IntegerOption("max_send_rate",
                       "What the account may send in a second, 0 = unlimited; beyond it SES throttles.")
        .Default("0")
        .Range(0, 100'000)
        .Unit("recipients"),
    sdk::IntegerOption("max_24_hour_send", "What the account may send in 24 hours, 0 = unlimited.")
        .Default("0")
        .Range(0, 1'000'000'000)
        .Unit("recipients"),
    sdk::SizeOption("max_message_size", "The largest mail, measured after base64 as SES does.")
        .Default("40MiB")
        .Range(1, 1 << 30)};

// Threads: those of BlockingTransport. Lines are appended by one write each, so several processes may share the file.
class SesStubTransport : public sdk::BlockingTransport {
 public:
  // Throws std::runtime_error where the directory cannot be made or the file not be opened.
  SesStubTransport(sdk::Host host, const sdk::Options& options);
  ~SesStubTransport() override;

 protected:
  sdk::Outcome Send(const postbus_mail& mail) override;

 private:
  const OutputDirectory directory_;
  Account account_;
  int requests_fd_ = -1;
};

// The line of requests.jsonl: request, answer and the events SES would report, in SES's own names.
std::string RequestLine(const postbus_mail& mail, const Answer& answer, int64_t now_unix_ms);

}  // namespace postbus::ses_stub
