#include "plugins/sendgrid/transport.h"

#include <algorithm>
#include <charconv>
#include <ctime>
#include <set>

#include "plugins/json_mail.h"

namespace postbus::sendgrid {
namespace {

using Personalizations = std::vector<sdk::Addressees>;

// Each becomes a mail of its own. `to` must not be empty, and recipients that must not see each other get one each.
Personalizations PersonalizationsOf(const postbus_mail& mail) {
  sdk::Addressees all = sdk::AddresseesOf(mail);
  if (!all.to.empty()) return {std::move(all)};
  Personalizations each;
  for (const auto* list : {&all.cc, &all.bcc}) {
    for (const postbus_mailbox& one : *list) each.push_back({.to = {one}, .cc = {}, .bcc = {}});
  }
  return each;
}

// `field` as SendGrid names it: personalizations.0.to.2.email. The index in the envelope of whom it is about.
std::optional<uint32_t> RecipientOf(const postbus_mail& mail, std::string_view field) {
  const Personalizations personalizations = PersonalizationsOf(mail);
  const auto number = [&](std::string_view prefix) -> std::optional<size_t> {
    size_t value = 0;
    if (!field.starts_with(prefix)) return {};
    field.remove_prefix(prefix.size());
    const auto [end, error] = std::from_chars(field.data(), field.data() + field.size(), value);
    if (error != std::errc()) return {};
    field.remove_prefix(static_cast<size_t>(end - field.data()));
    return value;
  };
  const auto personalization = number("personalizations.");
  if (!personalization || *personalization >= personalizations.size()) return {};
  const sdk::Addressees& all = personalizations[*personalization];
  for (const auto& [prefix, list] : {std::pair(".to.", &all.to), {".cc.", &all.cc}, {".bcc.", &all.bcc}}) {
    const auto index = number(prefix);
    if (!index || *index >= list->size()) continue;
    for (uint32_t i = 0; i < mail.n_recipients; ++i) {
      if (sdk::View(mail.recipients[i]) == sdk::View((*list)[*index].address)) return i;
    }
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
  for (const sdk::Addressees& all : PersonalizationsOf(mail)) {
    json.StartObject();
    json_mail::Addresses(json, "to", all.to);
    json_mail::Addresses(json, "cc", all.cc);
    json_mail::Addresses(json, "bcc", all.bcc);
    json.EndObject();
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
  json.Key("custom_args");
  json.StartObject();
  json_mail::Member(json, "postbus_id", sdk::View(mail.event_id));
  json.EndObject();
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
