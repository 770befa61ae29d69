#include "plugins/sendgrid/transport.h"

#include <algorithm>
#include <charconv>
#include <ctime>
#include <set>

#include "plugins/json_mail.h"

namespace postbus::sendgrid {
namespace {

// Each personalization becomes a mail of its own and must have a `to`: without one the recipients get one each, as they
// may not see each other.
bool IsOneMail(const postbus_parts& parts) { return parts.n_to != 0; }

// The number after `prefix`, taken off the front of `field`.
std::optional<uint32_t> TakeNumber(std::string_view& field, std::string_view prefix) {
  uint32_t value = 0;
  if (!field.starts_with(prefix)) return {};
  const auto [end, error] = std::from_chars(field.data() + prefix.size(), field.data() + field.size(), value);
  if (error != std::errc()) return {};
  field.remove_prefix(static_cast<size_t>(end - field.data()));
  return value;
}

// `field` as SendGrid names it: personalizations.0.to.2.email. Whom of the envelope it is about.
std::optional<uint32_t> RecipientOf(const postbus_mail& mail, std::string_view field) {
  const postbus_parts& parts = *mail.parts;
  const auto personalization = TakeNumber(field, "personalizations.");
  if (!personalization) return {};
  std::string_view address;
  if (IsOneMail(parts)) {
    const auto find = [&](std::string_view list, const postbus_mailbox* mailboxes, uint32_t n) {
      if (const auto index = TakeNumber(field, list); index && *index < n)
        address = sdk::View(mailboxes[*index].address);
    };
    if (*personalization != 0) return {};
    find(".to.", parts.to, parts.n_to);
    find(".cc.", parts.cc, parts.n_cc);
    find(".bcc.", parts.bcc, parts.n_bcc);
  } else if (*personalization < parts.n_cc) {
    address = sdk::View(parts.cc[*personalization].address);
  } else if (*personalization - parts.n_cc < parts.n_bcc) {
    address = sdk::View(parts.bcc[*personalization - parts.n_cc].address);
  }
  for (uint32_t i = 0; i < mail.n_recipients && !address.empty(); ++i) {
    if (sdk::View(mail.recipients[i]) == address) return i;
  }
  return {};
}

// Unix seconds in X-RateLimit-Reset; SendGrid has no Retry-After.
uint64_t ResetMs(const sdk::HttpResponse& response) {
  const std::string_view text = response.Header("X-RateLimit-Reset");
  int64_t at = 0;
  std::from_chars(text.data(), text.data() + text.size(), at);
  const int64_t seconds = std::clamp<int64_t>(at - std::time(nullptr), 0, 3600);
  return static_cast<uint64_t>(seconds) * 1000;
}

}  // namespace

Transport::Transport(sdk::Host host, const sdk::Options& options)
    : HttpTransport(
          host, options,
          {.base_url = options.Enum("region") == "eu" ? "https://api.eu.sendgrid.com" : "https://api.sendgrid.com"}),
      headers_{"Authorization: Bearer " + options.String("api_key"), "Content-Type: application/json"},
      sandbox_mode_(options.Boolean("sandbox_mode")) {}

std::optional<sdk::Outcome> Transport::Build(const postbus_mail& mail, sdk::HttpRequest& request) {
  const postbus_parts& parts = *mail.parts;
  rapidjson::StringBuffer buffer;
  json_mail::Writer json(buffer);
  json.StartObject();
  json.Key("personalizations");
  json.StartArray();
  if (IsOneMail(parts)) {
    json.StartObject();
    json_mail::Addresses(json, "to", parts.to, parts.n_to);
    json_mail::Addresses(json, "cc", parts.cc, parts.n_cc);
    json_mail::Addresses(json, "bcc", parts.bcc, parts.n_bcc);
    json.EndObject();
  } else {
    for (uint32_t i = 0; i < parts.n_cc + parts.n_bcc; ++i) {
      json.StartObject();
      json_mail::Addresses(json, "to", i < parts.n_cc ? &parts.cc[i] : &parts.bcc[i - parts.n_cc], 1);
      json.EndObject();
    }
  }
  json.EndArray();
  json.Key("from");
  json_mail::Address(json, parts.from);
  json_mail::Member(json, "subject", sdk::View(parts.subject));
  json.Key("content");  // text comes first
  json.StartArray();
  for (const auto& [type, text] : {std::pair("text/plain", parts.text), {"text/html", parts.html}}) {
    if (text.size == 0) continue;
    json.StartObject();
    json_mail::Member(json, "type", type);
    json_mail::Member(json, "value", sdk::View(text));
    json.EndObject();
  }
  json.EndArray();
  json_mail::Addresses(json, "reply_to_list", parts.reply_to, parts.n_reply_to);
  json_mail::Attachments(json, parts);
  json_mail::Headers(json, "headers", parts);
  if (parts.n_tags != 0) {
    json.Key("categories");
    json.StartArray();
    for (uint32_t i = 0; i < parts.n_tags; ++i) json_mail::String(json, sdk::View(parts.tags[i]));
    json.EndArray();
  }
  json_mail::Metadata(json, "custom_args", mail);
  if (sandbox_mode_) {
    json.Key("mail_settings");
    json.RawValue(R"({"sandbox_mode":{"enable":true}})", 32, rapidjson::kObjectType);
  }
  json.EndObject();
  request.path = "/v3/mail/send";
  request.headers = headers_;
  request.body.assign(buffer.GetString(), buffer.GetSize());
  return std::nullopt;
}

// 202 without a body, the id in a header; in the sandbox 200 without an id. {"errors":[{"message","field","help"}]}
sdk::Outcome Transport::Verdict(const postbus_mail& mail, const sdk::HttpResponse& response) {
  std::string words;
  std::set<uint32_t> bad;
  const rapidjson::Document document = json_mail::Parse(response.body);
  for (const rapidjson::Value& error : json_mail::Items(document, "errors")) {
    const std::string_view field = json_mail::Text(error, "field");
    if (!words.empty()) words += "; ";
    if (!field.empty()) words.append(field).append(": ");
    words += json_mail::Text(error, "message");
    if (const auto recipient = RecipientOf(mail, field)) bad.insert(*recipient);
  }
  const bool sandboxed = sandbox_mode_ && response.status == 200;
  sdk::Outcome outcome = sdk::VerdictFromHttp(response, sandboxed ? "sandbox" : response.Header("X-Message-Id"), words);
  if (outcome.outcome == POSTBUS_THROTTLED && outcome.retry_after_ms == 0) outcome.retry_after_ms = ResetMs(response);
  if (response.status != 400 || bad.empty()) return outcome;
  // SendGrid refused the request for some recipients; the others go again without them.
  if (bad.size() < mail.n_recipients) outcome.outcome = POSTBUS_NOT_SENT;
  for (const uint32_t recipient : bad) {
    outcome.recipients.push_back({.recipient = recipient,
                                  .outcome = POSTBUS_REJECTED_RECIPIENT,
                                  .phase = POSTBUS_PHASE_REQUEST,
                                  .code = response.status,
                                  .enhanced = {},
                                  .text = words});
  }
  return outcome;
}

}  // namespace postbus::sendgrid
