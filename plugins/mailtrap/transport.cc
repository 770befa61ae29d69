#include "plugins/mailtrap/transport.h"

#include <stdexcept>

#include "postbus/json_mail.hpp"

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
  for (const std::string_view error : sdk::JsonTexts(result, "errors")) {
    words.append(words.empty() ? "" : "; ").append(error);
  }
  const std::vector<std::string_view> ids = sdk::JsonTexts(result, "message_ids");
  if (response.status == 200 && ids.empty() && !words.empty()) {
    return sdk::Outcome::RejectedMessage(words).At(POSTBUS_PHASE_REQUEST, response.status);
  }
  return sdk::VerdictFromHttp(response, ids.empty() ? "" : ids.front(), words, kRateWindowMs);
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
  sdk::JsonBody json;
  json.Address("from", parts.from);
  json.Addresses("to", {parts.to, parts.n_to});
  json.Addresses("cc", {parts.cc, parts.n_cc});
  json.Addresses("bcc", {parts.bcc, parts.n_bcc});
  if (parts.n_reply_to == 1) json.Address("reply_to", parts.reply_to[0]);
  json.Text("subject", sdk::View(parts.subject));
  json.TextIfAny("text", sdk::View(parts.text));
  json.TextIfAny("html", sdk::View(parts.html));
  json.Attachments("attachments", parts);
  json.Headers("headers", parts);
  if (parts.n_tags != 0) json.Text("category", sdk::View(parts.tags[0]));  // it has one
  json.Metadata("custom_variables", mail);
  request.path = "/api/send" + suffix_;
  request.headers = headers_;
  request.body = json.Take();
  return std::nullopt;
}

sdk::Outcome Transport::Verdict(const postbus_mail& /*mail*/, const sdk::HttpResponse& response) {
  return Judge(sdk::ParseJson(response.body), response);
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
  const rapidjson::Document document = sdk::ParseJson(response.body);
  std::vector<sdk::Outcome> outcomes;
  for (const rapidjson::Value& one : sdk::JsonItems(document, "responses")) outcomes.push_back(Judge(one, response));
  if (response.status == 200 && !outcomes.empty()) return outcomes;
  sdk::Outcome all = Judge(document, response);
  if (all.outcome == POSTBUS_REJECTED_MESSAGE) return {};  // for one of them
  return {all};
}

}  // namespace postbus::mailtrap
