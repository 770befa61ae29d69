#include "plugins/sendgrid/transport.h"

#include <algorithm>

#include "postbus/json_mail.hpp"

namespace postbus::sendgrid {
namespace {

// Each personalization becomes a mail of its own and must have a `to`: without one the recipients get one each, as they
// may not see each other.
bool IsOneMail(const postbus_parts& parts) { return parts.n_to != 0; }

// How an error names recipient `index` of the envelope, which is `to`, `cc` and `bcc`: personalizations.0.cc.1.email.
std::string FieldOf(const postbus_parts& parts, uint32_t index) {
  if (!IsOneMail(parts)) return "personalizations." + std::to_string(index) + ".";
  const std::string one = "personalizations.0.";
  if (index < parts.n_to) return one + "to." + std::to_string(index) + ".";
  index -= parts.n_to;
  if (index < parts.n_cc) return one + "cc." + std::to_string(index) + ".";
  return one + "bcc." + std::to_string(index - parts.n_cc) + ".";
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
  sdk::JsonBody json;
  json.BeginArray("personalizations");
  if (IsOneMail(parts)) {
    json.BeginObject();
    json.Addresses("to", {parts.to, parts.n_to});
    json.Addresses("cc", {parts.cc, parts.n_cc});
    json.Addresses("bcc", {parts.bcc, parts.n_bcc});
    json.EndObject();
  }
  for (uint32_t i = 0; i < parts.n_cc + parts.n_bcc && !IsOneMail(parts); ++i) {
    json.BeginObject();
    json.Addresses("to", {i < parts.n_cc ? &parts.cc[i] : &parts.bcc[i - parts.n_cc], 1});
    json.EndObject();
  }
  json.EndArray();
  json.Address("from", parts.from);
  json.Text("subject", sdk::View(parts.subject));
  json.BeginArray("content");  // text comes first
  for (const auto& [type, text] : {std::pair("text/plain", parts.text), {"text/html", parts.html}}) {
    if (text.size == 0) continue;
    json.BeginObject();
    json.Text("type", type);
    json.Text("value", sdk::View(text));
    json.EndObject();
  }
  json.EndArray();
  json.Addresses("reply_to_list", {parts.reply_to, parts.n_reply_to});
  json.Attachments("attachments", parts);
  json.Headers("headers", parts);
  json.Texts("categories", {parts.tags, parts.n_tags});
  json.Metadata("custom_args", mail);
  if (sandbox_mode_) json.Raw("mail_settings", R"({"sandbox_mode":{"enable":true}})");
  request.path = "/v3/mail/send";
  request.headers = headers_;
  request.body = json.Take();
  return std::nullopt;
}

// 202 without a body, the id in a header; in the sandbox 200 without an id. {"errors":[{"message","field","help"}]}
sdk::Outcome Transport::Verdict(const postbus_mail& mail, const sdk::HttpResponse& response) {
  std::string words;
  std::vector<std::string> fields;
  const rapidjson::Document document = sdk::ParseJson(response.body);
  for (const rapidjson::Value& error : sdk::JsonItems(document, "errors")) {
    const std::string field(sdk::JsonText(error, "field"));
    words.append(words.empty() ? "" : "; ").append(field).append(field.empty() ? "" : ": ");
    words += sdk::JsonText(error, "message");
    fields.push_back(field + ".");
  }
  const bool sandboxed = sandbox_mode_ && response.status == 200;
  sdk::Outcome outcome = sdk::VerdictFromHttp(response, sandboxed ? "sandbox" : response.Header("X-Message-Id"), words,
                                              sdk::ResetMs(response, "X-RateLimit-Reset"));
  for (uint32_t i = 0; i < mail.n_recipients && response.status == 400; ++i) {
    const auto is_about = [name = FieldOf(*mail.parts, i)](const std::string& field) {
      return field.starts_with(name);
    };
    if (std::any_of(fields.begin(), fields.end(), is_about)) outcome.Except(i, POSTBUS_REJECTED_RECIPIENT);
  }
  // SendGrid refused the request for some recipients; the others go again without them.
  if (const size_t bad = outcome.recipients.size(); bad > 0 && bad < mail.n_recipients)
    outcome.outcome = POSTBUS_NOT_SENT;
  return outcome;
}

}  // namespace postbus::sendgrid
