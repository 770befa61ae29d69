#include "postbus/blocking_transport.hpp"

namespace acme {
namespace sdk = postbus::sdk;

constexpr sdk::About kAbout{
    .id = "acme", .version = "1.0.0", .summary = "Hands mails to Acme.", .caps = POSTBUS_TRANSPORT_WANTS_RAW};
constexpr std::array kOptions = {
    sdk::StringOption("token", "The API token.").Required().Secret(),
    sdk::IntegerOption("threads", "Mails sent at the same time.").Default("4").Range(1, 64).Unit("threads")};

class Acme : public sdk::BlockingTransport {
 public:
  Acme(sdk::Host host, const sdk::Options& options)
      : BlockingTransport(host, options.Integer("threads")), token_(options.String("token")) {}

  sdk::Outcome Send(const postbus_mail& mail) override {
    if (mail.raw.size > 1'000'000) return sdk::Outcome::RejectedMessage("larger than Acme takes");
    return sdk::Outcome::Accepted("acme-" + token_.substr(0, 1));
  }

 private:
  std::string token_;
};
}  // namespace acme

POSTBUS_EXPORT_TRANSPORT(acme::Acme, acme::kAbout, acme::kOptions);
