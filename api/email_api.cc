#include "api/email_api.h"

#include "api/problem.h"
#include "event/clock.h"

namespace postbus {
namespace {

bool IsJson(std::string_view content_type) {
  std::string type(content_type.substr(0, content_type.find(';')));
  while (!type.empty() && type.back() == ' ') type.pop_back();
  for (char& c : type) c = static_cast<char>(c >= 'A' && c <= 'Z' ? c + 32 : c);
  return type == "application/json";
}

HttpResponse Accepted(std::string_view id) {
  HttpResponse response;
  response.status = 202;
  response.headers.emplace_back("Location", "/v1/emails/" + std::string(id));
  response.body = "{\"id\":";
  AppendJsonString(id, response.body);
  response.body += ",\"status\":\"pending\"}\n";
  return response;
}

// What the queue said, as an answer.
HttpResponse Refused(const Status& status, const std::string& id) {
  switch (status.kind()) {
    case ErrorKind::kInvalid:
      return Problem(413, "too_large", status.message());
    case ErrorKind::kUncertain:
      return Problem(503, "uncertain",
                     "the queue did not answer in time; the mail with id " + id +
                         " may have been accepted. Repeat the request with this id in \"id\".");
    default:
      return Problem(503, "queue_unavailable", "the mail was not accepted: " + std::string(status.message()));
  }
}

}  // namespace

EmailApi::EmailApi(const Config& config, Queue& queue, Metrics& metrics)
    : config_(config), queue_(queue), metrics_(metrics), acceptor_(config.limits, config.defaults_from) {}

HttpLimits EmailApi::Limits(const Config& config) {
  HttpLimits limits;
  limits.body_bytes = config.limits.max_bytes;
  return limits;
}

void EmailApi::Handle(HttpRequest&& request, HttpReply reply) {
  static constexpr std::string_view kEmails = "/v1/emails";
  const bool known = request.path == kEmails;
  HttpReply counted = [this, known, reply = std::move(reply)](HttpResponse response) {
    metrics_.CountRequest(known ? kEmails : std::string_view("other"), response.status);
    reply(std::move(response));
  };
  if (!known) {
    return counted(Problem(404, "no_such_route",
                           "there is nothing at " + request.path.substr(0, 64) + "; mails are posted to /v1/emails"));
  }
  if (request.method != "POST") {
    HttpResponse response = Problem(405, "method_not_allowed", "/v1/emails takes POST");
    response.headers.emplace_back("Allow", "POST");
    return counted(std::move(response));
  }
  PostEmail(request, counted);
}

void EmailApi::PostEmail(const HttpRequest& request, const HttpReply& reply) {
  if (!IsJson(request.header("Content-Type"))) {
    return reply(Problem(415, "not_json", "send the mail as JSON, with the header Content-Type: application/json"));
  }
  if (!request.header("Idempotency-Key").empty()) {
    return reply(Problem(400, "unsupported_header", "Idempotency-Key is not supported by this version"));
  }
  if (request.body.size() + EventLimits::kAcceptanceBytes > config_.limits.max_bytes) {
    return reply(Problem(413, "too_large",
                         "the mail is larger than limits.max_event (" + std::to_string(config_.limits.max_bytes) +
                             " bytes, of which " + std::to_string(EventLimits::kAcceptanceBytes) +
                             " are kept for the frame)"));
  }
  const int64_t now = UnixTimeMs();
  if (!acceptor_.Accept(request.body, now)) {
    const std::vector<Violation>& violations = acceptor_.violations();
    // No pointer into the document: it is none.
    if (violations.front().pointer.empty()) {
      return reply(Problem(400, "malformed_json", violations.front().detail));
    }
    return reply(Problem(422, "invalid_event", "the event breaks the rules below", violations));
  }
  const std::string& id = acceptor_.id();
  const Status status = queue_.Publish(
      {.id = id,
       .priority = acceptor_.event().priority,
       .accepted_at_unix_ms = now,
       .value = acceptor_.value(),
       .traceparent = request.header("traceparent")},
      [id, reply](const Status& published) { reply(published.ok() ? Accepted(id) : Refused(published, id)); });
  if (!status.ok()) reply(Refused(status, id));
}

Status CheckApiAddress(const Config& config) {
  if (IsLoopback(config.api.address)) return {};
  return Status::Invalid(config.api.mark.ToString() + ": api.listen: \"" + config.api.address +
                         "\" can be reached from other machines, and this version has no API keys yet; listen on "
                         "127.0.0.1 and put a reverse proxy with authentication in front");
}

}  // namespace postbus
