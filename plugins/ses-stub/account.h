// plugins/ses-stub/account.h - the SES account that is imitated: what `POST /v2/email/outbound-emails` would answer,
// and what SES would report afterwards. Knows no files and no ABI.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace postbus::ses_stub {

// What the request says, as far as the answer depends on it.
struct SendEmailRequest {
  std::string_view sender;                       // FromEmailAddress
  std::span<const std::string_view> recipients;  // Destination
  size_t raw_bytes = 0;                          // of Content.Raw.Data before base64
};

// 200 with a MessageId, or a status with `__type` and `message`.
struct Answer {
  int status = 200;
  std::string message_id;
  std::string type;  // "TooManyRequestsException"
  std::string message;
};

struct AccountSettings {
  enum class State : uint8_t { kActive, kSendingPaused, kSuspended };
  State state = State::kActive;
  int64_t max_message_bytes = 40 << 20;          // after base64
  int64_t max_send_rate = 0;                     // recipients a second; 0 = unlimited
  int64_t max_24_hour_send = 0;                  // recipients; 0 = unlimited
  std::vector<std::string> verified_identities;  // addresses and domains; empty = every sender is verified
};

// Thread-safe.
class Account {
 public:
  explicit Account(AccountSettings settings) : settings_(std::move(settings)) {}

  Answer SendEmail(const SendEmailRequest& request, int64_t now_unix_ms);

 private:
  bool IsVerified(std::string_view sender) const;
  // "" or the sentence of a 429. Counts the recipients where it is "".
  std::string_view Throttle(int64_t recipients, int64_t now_unix_ms);

  const AccountSettings settings_;
  std::mutex mutex_;  // guards all below
  double rate_tokens_ = 0;
  int64_t rate_filled_at_ms_ = -1;
  std::deque<std::pair<int64_t, int64_t>> sent_;  // time and recipients, of the last 24 hours
  int64_t sent_24_hours_ = 0;
};

// What SES reports about a recipient after it has accepted the mail: the mailbox simulator's addresses
// (bounce@simulator.amazonses.com, also bounce+label@…) have their own, every other is delivered.
struct Event {
  std::string_view type;      // "Delivery", "Bounce", "Complaint"
  std::string_view sub_type;  // of a bounce: "General", "Suppressed"; else ""
  std::string_view diagnostic;
};
// The first is what becomes of the mail; a second one may follow it.
std::vector<Event> EventsFor(std::string_view recipient);

// As SES makes them: "0100018c5d3f9a2b-4f1c2d3e-…-000000", of the time and 128 random bits.
std::string MakeMessageId(int64_t now_unix_ms, std::span<const uint8_t, 16> random);

}  // namespace postbus::ses_stub
