#include "plugins/ses-stub/verdict.h"

#include <algorithm>
#include <array>
#include <string>
#include <string_view>
#include <utility>

namespace postbus::ses_stub {
namespace {

constexpr uint64_t kQuotaWaitMs = 600'000;

bool IsAboutTheAccount(std::string_view type) {
  static constexpr std::array<std::string_view, 3> kTypes = {"AccountSuspendedException", "SendingPausedException",
                                                             "MailFromDomainNotVerifiedException"};
  return std::find(kTypes.begin(), kTypes.end(), type) != kTypes.end();
}

sdk::Outcome Judge(const Answer& answer, std::string text) {
  using sdk::Outcome;
  const int status = answer.status;
  if (status == 429 || answer.type == "ThrottlingException") {
    if (answer.message.find("quota") == std::string::npos) return Outcome::Throttled(0, std::move(text));
    return Outcome::ProviderFault(std::move(text)).RetryAfter(kQuotaWaitMs);
  }
  if (status == 401 || status == 403 || IsAboutTheAccount(answer.type)) return Outcome::ProviderFault(std::move(text));
  if (status >= 400 && status < 500) return Outcome::RejectedMessage(std::move(text));
  if (status == 502 || status == 504 || status < 500) return Outcome::InDoubt(std::move(text));
  return Outcome::ProviderFault(std::move(text));
}

}  // namespace

sdk::Outcome VerdictOf(const Answer& answer) {
  const auto status = static_cast<uint16_t>(answer.status);
  if (answer.status == 200 && !answer.message_id.empty()) {
    return sdk::Outcome::Accepted(answer.message_id, "accepted").At(POSTBUS_PHASE_REQUEST, status);
  }
  std::string text = answer.type;
  if (!text.empty() && !answer.message.empty()) text += ": ";
  text += answer.message;
  return Judge(answer, std::move(text)).At(POSTBUS_PHASE_REQUEST, status);
}

}  // namespace postbus::ses_stub
