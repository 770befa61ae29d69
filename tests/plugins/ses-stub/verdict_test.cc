#include "plugins/ses-stub/verdict.h"

#include <gtest/gtest.h>

namespace postbus::ses_stub {
namespace {

Answer Error(int status, std::string type, std::string message = "") {
  return {.status = status, .message_id = {}, .type = std::move(type), .message = std::move(message)};
}

TEST(VerdictTest, Accepted) {
  const auto outcome = VerdictOf({.status = 200, .message_id = "0100-id", .type = {}, .message = {}});
  EXPECT_EQ(outcome.outcome, POSTBUS_ACCEPTED);
  EXPECT_EQ(outcome.provider_id, "0100-id");
  EXPECT_EQ(outcome.code, 200);
  EXPECT_EQ(outcome.phase, POSTBUS_PHASE_REQUEST);
}

TEST(VerdictTest, EachErrorShape) {
  const struct {
    Answer answer;
    int32_t outcome;
  } cases[] = {
      {Error(429, "TooManyRequestsException", "Maximum sending rate exceeded."), POSTBUS_THROTTLED},
      {Error(400, "ThrottlingException", "Maximum sending rate exceeded."), POSTBUS_THROTTLED},
      {Error(429, "TooManyRequestsException", "Daily message quota exceeded."), POSTBUS_PROVIDER_FAULT},
      {Error(400, "AccountSuspendedException"), POSTBUS_PROVIDER_FAULT},
      {Error(400, "SendingPausedException"), POSTBUS_PROVIDER_FAULT},
      {Error(400, "MailFromDomainNotVerifiedException"), POSTBUS_PROVIDER_FAULT},
      {Error(403, "SignatureDoesNotMatch"), POSTBUS_PROVIDER_FAULT},
      {Error(400, "MessageRejected"), POSTBUS_REJECTED_MESSAGE},
      {Error(400, "BadRequestException"), POSTBUS_REJECTED_MESSAGE},
      {Error(500, "InternalFailure"), POSTBUS_PROVIDER_FAULT},
      {Error(503, "ServiceUnavailable"), POSTBUS_PROVIDER_FAULT},
      {Error(502, ""), POSTBUS_IN_DOUBT},
      {Error(504, ""), POSTBUS_IN_DOUBT},
      {Error(200, ""), POSTBUS_IN_DOUBT},  // a proxy's page, say
      {Error(302, ""), POSTBUS_IN_DOUBT},
  };
  for (const auto& [answer, expected] : cases) {
    const auto outcome = VerdictOf(answer);
    EXPECT_EQ(outcome.outcome, expected) << answer.status << " " << answer.type << " " << answer.message;
    EXPECT_EQ(outcome.code, answer.status);
  }
  EXPECT_EQ(VerdictOf(cases[2].answer).retry_after_ms, 600'000u);
  EXPECT_EQ(VerdictOf(cases[0].answer).text, "TooManyRequestsException: Maximum sending rate exceeded.");
}

}  // namespace
}  // namespace postbus::ses_stub
