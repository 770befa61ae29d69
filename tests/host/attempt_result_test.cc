#include "host/attempt_result.h"

#include <gtest/gtest.h>

namespace postbus {
namespace {

postbus_str Text(std::string_view text) { return {text.data(), text.size()}; }

TEST(AttemptResult, CopiesTheMailsOutcomeAndThoseOfRecipients) {
  postbus_recipient_result refused{};
  refused.size = sizeof refused;
  refused.recipient = 1;
  refused.outcome = POSTBUS_REJECTED_RECIPIENT;
  refused.code = 550;
  refused.enhanced[0] = 5;
  refused.enhanced[1] = 1;
  refused.enhanced[2] = 1;
  refused.text = Text("no such user");
  const postbus_recipient_result* list[] = {&refused};
  postbus_result result{};
  result.size = sizeof result;
  result.outcome = POSTBUS_ACCEPTED;
  result.code = 250;
  result.provider_id = Text("4F2");
  result.recipients = list;
  result.n_recipients = 1;

  AttemptResult copy;
  copy.Assign(result, 3);
  EXPECT_EQ(copy.of(0).outcome, POSTBUS_ACCEPTED);
  EXPECT_EQ(copy.of(0).EnhancedText(), "");
  EXPECT_EQ(copy.of(1).outcome, POSTBUS_REJECTED_RECIPIENT);
  EXPECT_EQ(copy.of(1).code, 550);
  EXPECT_EQ(copy.of(1).EnhancedText(), "5.1.1");
  EXPECT_EQ(copy.of(1).text, "no such user");
  EXPECT_EQ(copy.of(2).outcome, POSTBUS_ACCEPTED);
  EXPECT_EQ(copy.provider_id(), "4F2");

  result.n_recipients = 0;
  copy.Assign(result, 3);
  EXPECT_EQ(copy.of(1).outcome, POSTBUS_ACCEPTED) << "nothing stays of the attempt before";
}

TEST(AttemptResult, AnUnknownOutcomeIsInDoubtNotLost) {
  postbus_result result{};
  result.size = sizeof result;
  result.outcome = 99;
  AttemptResult copy;
  copy.Assign(result, 1);
  EXPECT_EQ(copy.of(0).outcome, POSTBUS_IN_DOUBT);
}

TEST(AttemptResult, IgnoresNullAndOutOfRangeRecipients) {
  postbus_recipient_result beyond{};
  beyond.recipient = 7;
  beyond.outcome = POSTBUS_ACCEPTED;
  const postbus_recipient_result* list[] = {nullptr, &beyond};
  postbus_result result{};
  result.outcome = POSTBUS_TRANSIENT;
  result.recipients = list;
  result.n_recipients = 2;
  AttemptResult copy;
  copy.Assign(result, 2);
  EXPECT_EQ(copy.of(0).outcome, POSTBUS_TRANSIENT);
  EXPECT_EQ(copy.of(1).outcome, POSTBUS_TRANSIENT);
}

}  // namespace
}  // namespace postbus
