// plugins/sendgrid/transport.h - SendGrid's v3 Mail Send API. README.md has the verdicts. Threads as
// postbus/http_transport.hpp says.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <vector>

#include "postbus/http_transport.hpp"

namespace postbus::sendgrid {

inline constexpr std::array kOptions = sdk::WithHttpOptions(std::array{
    sdk::StringOption("api_key", "The API key, with the right \"Mail Send\".").Required().Secret(),
    sdk::EnumOption("region", "global|eu", "Where SendGrid processes the mails; eu needs an EU subuser's key.")
        .Default("global"),
    sdk::BooleanOption("sandbox_mode", "SendGrid checks each mail and delivers it to nobody."),
});

class Transport final : public sdk::HttpTransport {
 public:
  Transport(sdk::Host host, const sdk::Options& options);

  std::optional<sdk::Outcome> Build(const postbus_mail& mail, sdk::HttpRequest& request) override;
  sdk::Outcome Verdict(const postbus_mail& mail, const sdk::HttpResponse& response) override;

 private:
  const std::vector<std::string> headers_;
  const bool sandbox_mode_;
};

}  // namespace postbus::sendgrid
