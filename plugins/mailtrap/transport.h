// plugins/mailtrap/transport.h - Mailtrap's sending API: transactional and bulk streams, sandbox, batches. README.md
// has the verdicts. Threads as postbus/http_transport.hpp says.
#pragma once

#include <array>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "postbus/http_transport.hpp"

namespace postbus::mailtrap {

inline constexpr std::array kOptions = sdk::WithHttpOptions(std::array{
    sdk::StringOption("token", "The API token.").Required().Secret(),
    sdk::EnumOption("stream", "send|bulk|sandbox",
                    "Transactional mail, bulk mail, or Mailtrap's sandbox, which delivers to nobody.")
        .Default("send"),
    sdk::IntegerOption("sandbox_id", "The sandbox; required for that stream.")
        .Default("0")
        .Range(0, 1'000'000'000)
        .Unit("number"),
    sdk::IntegerOption("max_batch", "Mails in one request when several wait; 1: never more than one.")
        .Default("50")
        .Range(1, 500)
        .Unit("mails"),
});

class Transport final : public sdk::HttpTransport {
 public:
  Transport(sdk::Host host, const sdk::Options& options);

  std::optional<sdk::Outcome> Build(const postbus_mail& mail, sdk::HttpRequest& request) override;
  sdk::Outcome Verdict(const postbus_mail& mail, const sdk::HttpResponse& response) override;
  void Join(std::span<const sdk::HttpRequest> requests, sdk::HttpRequest& request) override;
  std::vector<sdk::Outcome> Verdicts(std::span<const postbus_mail* const> mails,
                                     const sdk::HttpResponse& response) override;

 private:
  const std::string suffix_;  // of the paths: "/" and the sandbox
  const std::vector<std::string> headers_;
};

}  // namespace postbus::mailtrap
