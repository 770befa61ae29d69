#include "plugins/ses-stub/account.h"

#include <algorithm>
#include <random>

#include "postbus/ascii.hpp"

namespace postbus::ses_stub {
namespace {

constexpr size_t kMaxRecipients = 50;
constexpr int64_t kDayMs = 24 * 3600 * 1000;
constexpr std::string_view kSimulator = "@simulator.amazonses.com";

Answer Refuse(int status, std::string_view type, std::string message) {
  return {.status = status, .message_id = {}, .type = std::string(type), .message = std::move(message)};
}

std::array<uint8_t, 16> RandomBits() {
  std::array<uint8_t, 16> bits{};
  std::random_device device;
  for (size_t i = 0; i < bits.size(); i += 4) {
    const uint32_t word = device();
    for (size_t j = 0; j < 4; ++j) bits[i + j] = static_cast<uint8_t>(word >> (8 * j));
  }
  return bits;
}

}  // namespace

Answer Account::SendEmail(const SendEmailRequest& request, int64_t now_unix_ms) {
  if (settings_.state == AccountSettings::State::kSuspended) {
    return Refuse(400, "AccountSuspendedException",
                  "The message can't be sent because the account's ability to send email has been permanently "
                  "restricted.");
  }
  if (settings_.state == AccountSettings::State::kSendingPaused) {
    return Refuse(400, "SendingPausedException",
                  "The message can't be sent because the account's ability to send email is currently paused.");
  }
  if (request.recipients.size() > kMaxRecipients) {
    return Refuse(400, "BadRequestException", "Recipient count exceeds 50.");
  }
  const auto encoded = static_cast<int64_t>((request.raw_bytes + 2) / 3 * 4);
  if (encoded > settings_.max_message_bytes) {
    return Refuse(400, "BadRequestException",
                  "Message length is more than " + std::to_string(settings_.max_message_bytes) + " bytes long: '" +
                      std::to_string(encoded) + "'.");
  }
  if (!sdk::IsAscii(request.sender) ||
      !std::all_of(request.recipients.begin(), request.recipients.end(), sdk::IsAscii)) {
    return Refuse(400, "BadRequestException", "Local address contains control or whitespace");
  }
  if (!IsVerified(request.sender)) {
    return Refuse(400, "MessageRejected", "Email address is not verified.");
  }
  if (const auto sentence = Throttle(static_cast<int64_t>(request.recipients.size()), now_unix_ms); !sentence.empty()) {
    return Refuse(429, "TooManyRequestsException", std::string(sentence));
  }
  return {.status = 200, .message_id = MakeMessageId(now_unix_ms, RandomBits()), .type = {}, .message = {}};
}

bool Account::IsVerified(std::string_view sender) const {
  const auto& identities = settings_.verified_identities;
  const std::string_view domain = sender.substr(std::min(sender.rfind('@') + 1, sender.size()));
  return identities.empty() || std::any_of(identities.begin(), identities.end(), [&](const std::string& identity) {
           return sdk::EqualIgnoringCase(identity, identity.find('@') == identity.npos ? domain : sender);
         });
}

std::string_view Account::Throttle(int64_t recipients, int64_t now_unix_ms) {
  const std::lock_guard lock(mutex_);
  while (!sent_.empty() && sent_.front().first <= now_unix_ms - kDayMs) {
    sent_24_hours_ -= sent_.front().second;
    sent_.pop_front();
  }
  if (settings_.max_24_hour_send > 0 && sent_24_hours_ + recipients > settings_.max_24_hour_send) {
    return "Daily message quota exceeded.";
  }
  if (settings_.max_send_rate > 0) {  // a bucket of one second, full at first
    const auto rate = static_cast<double>(settings_.max_send_rate);
    const int64_t passed_ms = rate_filled_at_ms_ < 0 ? 1000 : std::max<int64_t>(0, now_unix_ms - rate_filled_at_ms_);
    rate_tokens_ = std::min(rate, rate_tokens_ + rate * static_cast<double>(passed_ms) / 1000);
    rate_filled_at_ms_ = now_unix_ms;
    // One mail to more recipients than the rate goes when the bucket is full.
    if (rate_tokens_ < std::min(static_cast<double>(recipients), rate)) return "Maximum sending rate exceeded.";
    rate_tokens_ -= static_cast<double>(recipients);
  }
  if (settings_.max_24_hour_send > 0) {
    sent_.emplace_back(now_unix_ms, recipients);
    sent_24_hours_ += recipients;
  }
  return {};
}

std::vector<Event> EventsFor(std::string_view recipient) {
  const Event delivery{.type = "Delivery", .sub_type = {}, .diagnostic = "smtp; 250 2.6.0 Message received"};
  if (recipient.size() < kSimulator.size() ||
      !sdk::EqualIgnoringCase(recipient.substr(recipient.size() - kSimulator.size()), kSimulator)) {
    return {delivery};
  }
  std::string box(recipient.substr(0, recipient.size() - kSimulator.size()));
  box.resize(std::min(box.find('+'), box.size()));
  std::transform(box.begin(), box.end(), box.begin(), sdk::Lower);
  if (box == "bounce") {
    return {{.type = "Bounce", .sub_type = "General", .diagnostic = "smtp; 550 5.1.1 user unknown"}};
  }
  if (box == "suppressionlist") {
    return {{.type = "Bounce",
             .sub_type = "Suppressed",
             .diagnostic = "Amazon SES has suppressed sending to this address because it has a recent history of "
                           "bouncing as an invalid address."}};
  }
  if (box == "complaint") return {delivery, {.type = "Complaint", .sub_type = {}, .diagnostic = "abuse"}};
  if (box == "ooto") return {delivery, {.type = "AutoReply", .sub_type = {}, .diagnostic = "out of the office"}};
  return {delivery};  // success, and every other
}

std::string MakeMessageId(int64_t now_unix_ms, std::span<const uint8_t, 16> random) {
  static constexpr char kHex[] = "0123456789abcdef";
  std::string id = "0100";  // us-east-1
  for (int shift = 44; shift >= 0; shift -= 4) id += kHex[now_unix_ms >> shift & 0xF];
  for (size_t i = 0; i < random.size(); ++i) {
    if (i == 0 || i == 4 || i == 6 || i == 8 || i == 10) id += '-';
    id += kHex[random[i] >> 4];
    id += kHex[random[i] & 0xF];
  }
  return id + "-000000";
}

}  // namespace postbus::ses_stub
