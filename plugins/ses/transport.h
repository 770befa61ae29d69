// plugins/ses/transport.h - Amazon SES v2, SendEmail with raw messages: what the host composed is what is sent.
// README.md has the verdicts. Threads as postbus/http_transport.hpp says.
#pragma once

#include <array>
#include <optional>
#include <string>

#include "plugins/ses/signature.h"
#include "postbus/http_transport.hpp"

namespace postbus::ses {

inline constexpr std::array kOptions = sdk::WithHttpOptions(std::array{
    sdk::StringOption("region", "The AWS region, such as eu-central-1.").Required(),
    sdk::StringOption("access_key_id", "Of a user or role that may call ses:SendEmail.").Required(),
    sdk::StringOption("secret_access_key", "Belongs to access_key_id.").Required().Secret(),
    sdk::StringOption("session_token", "Of temporary credentials; they expire, so reload before.").Default("").Secret(),
    sdk::StringOption("configuration_set", "The configuration set to send with; empty: the account's default.")
        .Default(""),
});

class Transport final : public sdk::HttpTransport {
 public:
  Transport(sdk::Host host, const sdk::Options& options);

  std::optional<sdk::Outcome> Build(const postbus_mail& mail, sdk::HttpRequest& request) override;
  sdk::Outcome Verdict(const postbus_mail& mail, const sdk::HttpResponse& response) override;

 private:
  const std::string region_;
  const Credentials credentials_;
  const std::string configuration_set_;
};

}  // namespace postbus::ses
