// Hands mails to the provider's HTTP API. Change what is marked with TODO; docs/write-a-transport.md tells the rest.
#include "postbus/http_transport.hpp"

namespace {
namespace sdk = postbus::sdk;

constexpr sdk::About kAbout{.id = "acme",
                            .version = "0.1.0",
                            .summary = "Hands mails to Acme's HTTP API.",
                            .caps = POSTBUS_TRANSPORT_WANTS_RAW};
constexpr std::array kOptions =
    sdk::WithHttpOptions(std::array{sdk::StringOption("token", "The API token.").Required().Secret()});

class Acme : public sdk::HttpTransport {
 public:
  Acme(sdk::Host host, const sdk::Options& options)
      : HttpTransport(host, options, {.base_url = "https://api.acme.example"}),  // TODO: the provider's address
        token_(options.String("token")) {}

  // TODO: the request, as the provider's documentation has it. It goes to mail.recipients and to nobody else.
  std::optional<sdk::Outcome> Build(const postbus_mail& mail, sdk::HttpRequest& request) override {
    if (mail.n_recipients > 100) return sdk::Outcome::Unsupported("Acme takes 100 recipients at most");
    request.path = "/v1/messages";
    request.headers = {"Authorization: Bearer " + token_, "Content-Type: message/rfc822"};
    for (uint32_t i = 0; i < mail.n_recipients; ++i) {
      request.headers.push_back("X-Acme-To: " + std::string(sdk::View(mail.recipients[i])));
    }
    request.body = sdk::View(mail.raw);
    return std::nullopt;
  }

  // TODO: where the answer has the id of the mail, and what the errors mean whose status does not tell.
  sdk::Outcome Verdict(const postbus_mail& mail, const sdk::HttpResponse& response) override {
    if (response.status == 422 && response.Header("X-Acme-Error") == "no-such-mailbox" && mail.n_recipients == 1) {
      return sdk::Outcome::RejectedRecipient("no such mailbox").At(POSTBUS_PHASE_REQUEST, response.status);
    }
    return sdk::VerdictFromHttp(response, response.Header("X-Acme-Id"), response.body);
  }

 private:
  const std::string token_;
};
}  // namespace

POSTBUS_EXPORT_TRANSPORT(Acme, kAbout, kOptions);
