#include "plugins/mailtrap/transport.h"

#include <stdexcept>

#include "plugins/json_mail.h"

namespace postbus::mailtrap {
namespace {

constexpr uint64_t kRateWindowMs = 10'000;     // 150 requests in 10 s; a 429 does not say how long
constexpr size_t kMaxBatchBytes = 40'000'000;  // Mailtrap takes 50 MB

std::string SandboxSuffix(const sdk::Options& options) {
  const bool is_sandbox = options.Enum("stream") == "sandbox";
  const int64_t id = options.Integer("sandbox_id");
  if (is_sandbox && id == 0)
    throw std::runtime_error("sandbox_id: stream sandbox needs it; it is in the sandbox's URL");
  return is_sandbox ? "/" + std::to_string(id) : "";
}

// {"success":true,"message_ids":[…]} or {"success":false,"errors":["…"]}, whole or one of a batch.
sdk::Outcome Judge(const rapidjson::Value& result, const sdk::HttpResponse& response) {
  std::string words;
  for (const rapidjson::Value& error : json_mail::Items(result, "errors")) {
    if (!error.IsString()) continue;
    if (!words.empty()) words += "; ";
    words += error.GetString();
  }
  std::string_view id;
  for (const rapidjson::Value& one : json_mail::Items(result, "message_ids")) {
    if (id.empty() && one.IsString()) id = one.GetString();
  }
  if (response.status == 200 && id.empty() && !words.empty()) {
    return sdk::Outcome::RejectedMessage(words).At(POSTBUS_PHASE_REQUEST, response.status);
  }
  sdk::Outcome outcome = sdk::VerdictFromHttp(response, id, words);
  if (outcome.outcome == POSTBUS_THROTTLED && outcome.retry_after_ms == 0) outcome.retry_after_ms = kRateWindowMs;
  return outcome;
}

}  // namespace

Transport::Transport(sdk::Host host, const sdk::Options& options)
    : HttpTransport(host, options,
                    {.base_url = "https://" + options.Enum("stream") + ".api.mailtrap.io",
                     .max_batch = static_cast<uint32_t>(options.Integer("max_batch")),
                     .max_batch_bytes = kMaxBatchBytes}),
      suffix_(SandboxSuffix(options)),
      headers_{"Authorization: Bearer " + options.String("token"), "Content-Type: application/json"} {}

std::optional<sdk::Outcome> Transport::Build(const postbus_mail& mail, sdk::HttpRequest& request) {
  const postbus_parts& parts = *mail.parts;
  if (parts.n_reply_to > 1) return sdk::Outcome::Unsupported("Mailtrap takes one reply_to");
  rapidjson::StringBuffer buffer;
  json_mail::Writer json(buffer);
  json.StartObject();
  json.Key("from");
  json_mail::Address(json, parts.from);
  json_mail::Addresses(json, "to", parts.to, parts.n_to);
  json_mail::Addresses(json, "cc", parts.cc, parts.n_cc);
  json_mail::Addresses(json, "bcc", parts.bcc, parts.n_bcc);
  if (parts.n_reply_to == 1) {
    json.Key("reply_to");
    json_mail::Address(json, parts.reply_to[0]);
  }
  json_mail::Member(json, "subject", sdk::View(parts.subject));
  if (parts.text.size != 0) json_mail::Member(json, "text", sdk::View(parts.text));
  if (parts.html.size != 0) json_mail::Member(json, "html", sdk::View(parts.html));
  json_mail::Attachments(json, parts);
  json_mail::Headers(json, "headers", parts);
  if (parts.n_tags != 0) json_mail::Member(json, "category", sdk::View(parts.tags[0]));  // it has one
  json_mail::Metadata(json, "custom_variables", mail);
  json.EndObject();
  request.path = "/api/send" + suffix_;
  request.headers = headers_;
  request.body.assign(buffer.GetString(), buffer.GetSize());
  return std::nullopt;
}

sdk::Outcome Transport::Verdict(const postbus_mail& /*mail*/, const sdk::HttpResponse& response) {
  return Judge(json_mail::Parse(response.body), response);
}

void Transport::Join(std::span<const sdk::HttpRequest> requests, sdk::HttpRequest& request) {
  request.path = "/api/batch" + suffix_;
  request.headers = headers_;
  for (const sdk::HttpRequest& one : requests)
    request.body += (request.body.empty() ? R"({"requests":[)" : ",") + one.body;
  request.body += "]}";
}

// 200 even where single mails failed: only `responses`, in the order of the requests, tells.
std::vector<sdk::Outcome> Transport::Verdicts(std::span<const postbus_mail* const> /*mails*/,
                                              const sdk::HttpResponse& response) {
  const rapidjson::Document document = json_mail::Parse(response.body);
  std::vector<sdk::Outcome> outcomes;
  for (const rapidjson::Value& one : json_mail::Items(document, "responses")) outcomes.push_back(Judge(one, response));
  if (response.status == 200 && !outcomes.empty()) return outcomes;
  sdk::Outcome all = Judge(document, response);
  if (all.outcome == POSTBUS_REJECTED_MESSAGE) return {};  // for one of them
  return {all};
}

}  // namespace postbus::mailtrap
