#include "plugins/ses/transport.h"

#include <algorithm>
#include <ctime>
#include <stdexcept>

#include "postbus/json_mail.hpp"

namespace postbus::ses {
namespace {

constexpr uint32_t kMaxRecipients = 50;
constexpr uint64_t kRateRetryMs = 1000;          // "Maximum sending rate exceeded" counts a second
constexpr uint64_t kQuotaRetryMs = 10 * 60'000;  // AWS says to wait up to 10 minutes

const std::string& Region(const std::string& region) {
  const bool is_name = !region.empty() && std::all_of(region.begin(), region.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-';
  });
  if (!is_name) throw std::runtime_error("region: not an AWS region; write it as eu-central-1");
  return region;
}

// "ThrottlingException:http://…" in a header, or "com.amazonaws.ses#ThrottlingException" in the body.
std::string_view ErrorType(const rapidjson::Document& document, const sdk::HttpResponse& response) {
  std::string_view type = response.Header("x-amzn-ErrorType");
  if (type.empty()) type = sdk::JsonText(document, "__type");
  type = type.substr(0, type.find(':'));
  return type.substr(type.find('#') + 1);
}

bool IsOneOf(std::string_view text, std::initializer_list<std::string_view> all) {
  return std::find(all.begin(), all.end(), text) != all.end();
}

}  // namespace

Transport::Transport(sdk::Host host, const sdk::Options& options)
    : HttpTransport(host, options,
                    {.base_url = "https://email." + Region(options.String("region")) + ".amazonaws.com"}),
      region_(options.String("region")),
      credentials_{.access_key_id = options.String("access_key_id"),
                   .secret_access_key = options.String("secret_access_key"),
                   .session_token = options.String("session_token")},
      configuration_set_(options.String("configuration_set")) {}

std::optional<sdk::Outcome> Transport::Build(const postbus_mail& mail, sdk::HttpRequest& request) {
  if ((mail.flags & POSTBUS_MAIL_SMTPUTF8) != 0) return sdk::Outcome::Unsupported("SES takes ASCII addresses only");
  if (mail.n_recipients > kMaxRecipients) return sdk::Outcome::Unsupported("SES takes 50 recipients at most");
  std::string data;
  sdk::AppendBase64(sdk::View(mail.raw), data);
  sdk::JsonBody json(data.size() + 4096);
  json.BeginObject("Destination");  // the envelope; the message's header fields stay as they are
  json.Texts("ToAddresses", {mail.recipients, mail.n_recipients});
  json.EndObject();
  json.BeginObject("Content");
  json.BeginObject("Raw");
  json.Text("Data", data);
  json.EndObject();
  json.EndObject();
  json.TextIfAny("ConfigurationSetName", configuration_set_);
  request.path = "/v2/email/outbound-emails";
  request.body = json.Take();
  request.headers = SignedHeaders(credentials_, region_, authority(), request.path, request.body, std::time(nullptr));
  return std::nullopt;
}

sdk::Outcome Transport::Verdict(const postbus_mail& /*mail*/, const sdk::HttpResponse& response) {
  const rapidjson::Document document = sdk::ParseJson(response.body);
  const std::string_view type = ErrorType(document, response);
  std::string_view message = sdk::JsonText(document, "message");
  if (message.empty()) message = sdk::JsonText(document, "Message");
  std::string words(type);
  if (!message.empty()) words.append(words.empty() ? "" : ": ").append(message);
  const auto at = [&](sdk::Outcome outcome) { return std::move(outcome).At(POSTBUS_PHASE_REQUEST, response.status); };

  if (response.status >= 400 && response.status < 500) {
    if (message.find("Daily message quota exceeded") != std::string_view::npos) {
      return at(sdk::Outcome::ProviderFault(words).RetryAfter(kQuotaRetryMs));
    }
    if (IsOneOf(type, {"TooManyRequestsException", "ThrottlingException", "Throttling", "RequestThrottledException"})) {
      return at(sdk::Outcome::Throttled(std::max(sdk::RetryAfterMs(response), kRateRetryMs), words));
    }
    // What is wrong with the account, its keys or this host's clock is wrong with every mail.
    if (IsOneOf(type, {"AccountSuspendedException", "SendingPausedException", "MailFromDomainNotVerifiedException",
                       "LimitExceededException", "NotFoundException", "AccessDeniedException", "ExpiredTokenException",
                       "IncompleteSignature", "IncompleteSignatureException", "InvalidClientTokenId",
                       "InvalidSignatureException", "MissingAuthenticationToken", "MissingAuthenticationTokenException",
                       "NotAuthorized", "OptInRequired", "RequestExpired", "SignatureDoesNotMatch",
                       "UnrecognizedClientException"})) {
      return at(sdk::Outcome::ProviderFault(words));
    }
    if (IsOneOf(type, {"ConflictException", "ConcurrentModificationException"}))
      return at(sdk::Outcome::Transient(words));
  }
  return sdk::VerdictFromHttp(response, sdk::JsonText(document, "MessageId"), words);
}

}  // namespace postbus::ses
