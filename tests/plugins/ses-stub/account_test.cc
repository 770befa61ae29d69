#include "plugins/ses-stub/account.h"

#include <gtest/gtest.h>

#include <regex>

namespace postbus::ses_stub {
namespace {

constexpr int64_t kNow = 1'700'000'000'000;

class AccountTest : public testing::Test {
 protected:
  Answer Send(size_t recipients = 1, int64_t at_ms = kNow, std::string_view sender = "shop@usualstore.com") {
    const std::vector<std::string_view> to(recipients, "a@example.org");
    return account().SendEmail({.sender = sender, .recipients = to, .raw_bytes = raw_bytes_}, at_ms);
  }
  Account& account() {
    if (!account_) account_.emplace(settings_);
    return *account_;
  }

  AccountSettings settings_;
  size_t raw_bytes_ = 1000;

 private:
  std::optional<Account> account_;
};

TEST_F(AccountTest, AcceptsWithAMessageId) {
  const Answer first = Send();
  EXPECT_EQ(first.status, 200) << first.message;
  EXPECT_NE(first.message_id, Send().message_id);
  // As in the documentation of SES; 60 characters.
  const std::regex shape("0[0-9a-f]{15}-[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}-000000");
  EXPECT_TRUE(std::regex_match(first.message_id, shape)) << first.message_id;
}

TEST_F(AccountTest, MessageIdBeginsWithTheTime) {
  std::array<uint8_t, 16> bits{};
  for (size_t i = 0; i < bits.size(); ++i) bits[i] = static_cast<uint8_t>(0x10 * (i % 16) + i);
  EXPECT_EQ(MakeMessageId(0x18bcfe56800, bits), "0100018bcfe56800-00112233-4455-6677-8899-aabbccddeeff-000000");
}

TEST_F(AccountTest, AtMostFiftyRecipients) {
  EXPECT_EQ(Send(50).status, 200);
  const Answer answer = Send(51);
  EXPECT_EQ(answer.status, 400);
  EXPECT_EQ(answer.type, "BadRequestException");
  EXPECT_EQ(answer.message, "Recipient count exceeds 50.");
}

TEST_F(AccountTest, SizeCountsAfterBase64) {
  settings_.max_message_bytes = 400;
  raw_bytes_ = 300;
  EXPECT_EQ(Send().status, 200);
  raw_bytes_ = 301;
  const Answer answer = Send();
  EXPECT_EQ(answer.status, 400);
  EXPECT_EQ(answer.message, "Message length is more than 400 bytes long: '404'.");
}

TEST_F(AccountTest, AddressesAreAscii) {
  EXPECT_EQ(Send(1, kNow, "böse@usualstore.com").type, "BadRequestException");
  const std::string_view to[] = {"a@example.org", "å@example.org"};
  EXPECT_EQ(account().SendEmail({.sender = "a@b.c", .recipients = to, .raw_bytes = 1}, kNow).status, 400);
}

TEST_F(AccountTest, VerifiedIdentities) {
  settings_.verified_identities = {"UsualStore.com", "ada@example.com"};
  EXPECT_EQ(Send(1, kNow, "noreply@usualstore.com").status, 200);
  EXPECT_EQ(Send(1, kNow, "Ada@example.com").status, 200);
  for (const char* sender : {"bob@example.com", "a@mail.usualstore.com", "", "usualstore.com@evil.example"}) {
    const Answer answer = Send(1, kNow, sender);
    EXPECT_EQ(answer.status, 400) << sender;
    EXPECT_EQ(answer.type, "MessageRejected");
  }
}

TEST_F(AccountTest, SendingRateCountsRecipients) {
  settings_.max_send_rate = 10;
  EXPECT_EQ(Send(6).status, 200);
  EXPECT_EQ(Send(4).status, 200);
  const Answer answer = Send();
  EXPECT_EQ(answer.status, 429);
  EXPECT_EQ(answer.type, "TooManyRequestsException");
  EXPECT_EQ(answer.message, "Maximum sending rate exceeded.");
  EXPECT_EQ(Send(1, kNow + 99).status, 429);
  EXPECT_EQ(Send(1, kNow + 100).status, 200);
  EXPECT_EQ(Send(11, kNow + 1000).status, 429);
  EXPECT_EQ(Send(11, kNow + 1100).status, 200) << "the bucket is full: it goes, and the next ones pay for it";
  EXPECT_EQ(Send(1, kNow + 1101).status, 429);
  EXPECT_EQ(Send(1, kNow + 1300).status, 200);
}

TEST_F(AccountTest, DailyQuota) {
  settings_.max_24_hour_send = 3;
  constexpr int64_t kDay = 24 * 3600 * 1000;
  EXPECT_EQ(Send(2).status, 200);
  EXPECT_EQ(Send(1, kNow + 10).status, 200);
  EXPECT_EQ(Send(1, kNow + 20).message, "Daily message quota exceeded.");
  EXPECT_EQ(Send(1, kNow + kDay - 1).status, 429);
  EXPECT_EQ(Send(2, kNow + kDay).status, 200);
  EXPECT_EQ(Send(1, kNow + kDay).status, 429);
}

TEST_F(AccountTest, AccountThatMayNotSend) {
  settings_.state = AccountSettings::State::kSendingPaused;
  EXPECT_EQ(Send().type, "SendingPausedException");
  EXPECT_EQ(Account({.state = AccountSettings::State::kSuspended, .verified_identities = {}})
                .SendEmail({.sender = "a@b.c", .recipients = {}, .raw_bytes = 1}, kNow)
                .type,
            "AccountSuspendedException");
}

TEST(EventsTest, MailboxSimulator) {
  const auto types = [](std::string_view recipient) {
    std::string joined;
    for (const Event& event : EventsFor(recipient)) {
      joined += std::string(event.type) + (event.sub_type.empty() ? " " : "/" + std::string(event.sub_type) + " ");
    }
    return joined;
  };
  EXPECT_EQ(types("success@simulator.amazonses.com"), "Delivery ");
  EXPECT_EQ(types("bounce@simulator.amazonses.com"), "Bounce/General ");
  EXPECT_EQ(types("Bounce+label@Simulator.amazonses.com"), "Bounce/General ");
  EXPECT_EQ(types("complaint@simulator.amazonses.com"), "Delivery Complaint ");
  EXPECT_EQ(types("ooto@simulator.amazonses.com"), "Delivery AutoReply ");
  EXPECT_EQ(types("suppressionlist@simulator.amazonses.com"), "Bounce/Suppressed ");
  EXPECT_EQ(types("bounce@example.org"), "Delivery ");
  EXPECT_EQ(types("x"), "Delivery ");
}

}  // namespace
}  // namespace postbus::ses_stub
