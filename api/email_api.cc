#include "api/email_api.h"

#include <algorithm>
#include <charconv>
#include <iterator>
#include <utility>

#include "api/email_status.h"
#include "api/idempotency.h"
#include "api/json_array.h"
#include "api/problem.h"
#include "event/clock.h"

namespace postbus {
namespace {

constexpr std::string_view kKeyHeader = "Idempotency-Key";
constexpr size_t kMaxViolations = 100;  // of a batch

bool IsJson(std::string_view content_type) {
  std::string type(content_type.substr(0, content_type.find(';')));
  while (!type.empty() && type.back() == ' ') type.pop_back();
  for (char& c : type) c = static_cast<char>(c >= 'A' && c <= 'Z' ? c + 32 : c);
  return type == "application/json";
}

// What a request posted: one mail, or a batch of them.
struct Posted {
  std::vector<std::string> ids;
  bool batch = false;
  bool has_key = false;
};

// "id":… or "data":[{"id":…},…]
void AppendIds(const Posted& posted, std::string& out) {
  if (posted.batch) out += "\"data\":[";
  for (const std::string& id : posted.ids) {
    if (out.back() == '}') out += ',';
    out += posted.batch ? "{\"id\":" : "\"id\":";
    AppendJsonString(id, out);
    if (posted.batch) out += '}';
  }
  if (posted.batch) out += ']';
}

HttpResponse AcceptedAnswer(const Posted& posted) {
  HttpResponse response;
  response.status = 202;
  response.body = "{";
  AppendIds(posted, response.body);
  if (!posted.batch) {
    response.headers.emplace_back("Location", "/v1/emails/" + posted.ids.front());
    response.body += ",\"status\":\"pending\"";
  }
  response.body += "}\n";
  return response;
}

// What the queue said, as an answer.
HttpResponse Refused(const Status& status, const Posted& posted) {
  switch (status.kind()) {
    case ErrorKind::kInvalid:
      return Problem(413, "too_large", status.message());
    case ErrorKind::kConflict:
      return Problem(422, "idempotency_key_reused",
                     "this Idempotency-Key was used for another request body; take a new key for a new request");
    case ErrorKind::kUncertain: {
      std::string detail = posted.batch ? "the queue did not answer in time; some of the mails may have been accepted. "
                                        : "the queue did not answer in time; the mail may have been accepted. ";
      detail += posted.has_key
                    ? "Repeat the request with this Idempotency-Key."
                    : "Repeat the request with this id in \"id\"; with an Idempotency-Key it could be repeated "
                      "as it is.";
      std::string ids;
      AppendIds(posted, ids);
      return Problem(503, "uncertain", detail, {}, ids);
    }
    default:
      return Problem(503, "queue_unavailable", "nothing was accepted: " + std::string(status.message()));
  }
}

// "%3A" is a colon; what is no such escape stays as it is.
std::string PercentDecoded(std::string_view text) {
  std::string decoded;
  for (size_t at = 0; at < text.size(); ++at) {
    unsigned value = 0;
    const char* const digits = text.data() + at + 1;
    if (text[at] == '%' && at + 2 < text.size() && std::from_chars(digits, digits + 2, value, 16).ptr == digits + 2) {
      decoded += static_cast<char>(value);
      at += 2;
    } else {
      decoded += text[at];
    }
  }
  return decoded;
}

// What stands for {id} in a path of /v1/emails/{id}…; no id where it is none.
std::string IdIn(std::string_view path) {
  path.remove_prefix(std::string_view("/v1/emails/").size());
  return PercentDecoded(path.substr(0, path.find('/')));
}

HttpResponse NoSuchEmail() { return Problem(404, "no_such_email", "no email with this id is known here"); }

HttpResponse CancelRequested(const std::string& id) {
  HttpResponse response;
  response.status = 202;
  response.headers.emplace_back("Location", "/v1/emails/" + id);
  response.body = "{\"id\":";
  AppendJsonString(id, response.body);
  response.body += ",\"status\":\"cancel_requested\"}\n";
  return response;
}

HttpResponse NotCancelled(const Status& why) {
  switch (why.kind()) {
    case ErrorKind::kNotFound:
      return NoSuchEmail();
    case ErrorKind::kConflict:
      return Problem(409, "email_is_over", why.message());
    case ErrorKind::kUncertain:
      return Problem(503, "uncertain",
                     "the queue did not answer in time; the mail may be cancelled. Repeat the request");
    default:
      return Problem(503, "queue_unavailable", "nothing was cancelled: " + std::string(why.message()));
  }
}

HttpResponse NotAllowed(const std::string& path, std::string_view allowed) {
  HttpResponse response = Problem(405, "method_not_allowed", path + " takes " + std::string(allowed));
  response.headers.emplace_back("Allow", allowed);
  return response;
}

}  // namespace

EmailApi::EmailApi(const Config& config, std::shared_ptr<const Renderer> renderer, Queue& queue, StatusHistory& history,
                   Metrics& metrics)
    : max_event_bytes_(config.limits.max_bytes),
      queue_(queue),
      history_(history),
      metrics_(metrics),
      hasher_(RecipientKey(config.queue)) {
  Reload(config, std::move(renderer));
}

void EmailApi::Reload(const Config& config, std::shared_ptr<const Renderer> renderer) {
  std::unique_ptr<Rules> rules(new Rules{.acceptor = Acceptor(config.limits, config.defaults_from),
                                         .template_check = TemplateCheck(std::move(renderer))});
  const std::lock_guard lock(rules_mutex_);
  rules_.swap(rules);
}

HttpLimits EmailApi::Limits(const Config& config) {
  HttpLimits limits;
  limits.body_bytes = std::max(config.limits.max_bytes, kMaxBatchBytes);
  return limits;
}

void EmailApi::Handle(HttpRequest&& request, HttpReply reply) {
  struct Route {
    std::string_view path;
    std::string_view method;
    void (EmailApi::*handle)(const HttpRequest&, const HttpReply&);
  };
  static constexpr Route kRoutes[] = {{"/v1/emails", "POST", &EmailApi::PostEmail},
                                      {"/v1/emails/batch", "POST", &EmailApi::PostBatch},
                                      {"/v1/emails/{id}", "GET", &EmailApi::GetEmail},
                                      {"/v1/emails/{id}/cancel", "POST", &EmailApi::CancelEmail},
                                      {"/openapi.json", "GET", &EmailApi::GetOpenApi}};
  const auto matches = [&request](std::string_view path) {
    const size_t id = path.find("{id}");
    if (id == path.npos) return request.path == path;
    const std::string_view behind = path.substr(id + 4);
    return request.path.starts_with(path.substr(0, id)) && request.path.size() > id + behind.size() &&
           request.path.find('/', id) == (behind.empty() ? path.npos : request.path.size() - behind.size()) &&
           request.path.ends_with(behind);
  };
  const auto* const route =
      std::find_if(std::begin(kRoutes), std::end(kRoutes), [&](const Route& each) { return matches(each.path); });
  const bool known = route != std::end(kRoutes);
  const std::string_view label = known ? route->path : "other";
  const HttpReply counted = [this, label, reply = std::move(reply)](HttpResponse response) {
    metrics_.CountRequest(label, response.status);
    reply(std::move(response));
  };
  if (!known) {
    return counted(Problem(404, "no_such_route",
                           "there is nothing at " + request.path.substr(0, 64) +
                               "; mails are posted to /v1/emails, and /openapi.json has all routes"));
  }
  if (request.method != route->method) return counted(NotAllowed(request.path, route->method));
  (this->*route->handle)(request, counted);
}

// What is wrong with the request around the mails, if anything.
std::optional<HttpResponse> EmailApi::CheckPost(const HttpRequest& request) {
  if (!IsJson(request.header("Content-Type"))) {
    return Problem(415, "not_json", "send the mail as JSON, with the header Content-Type: application/json");
  }
  size_t keys = 0;
  for (const auto& [name, value] : request.headers) {
    if (!EqualsIgnoringCase(name, kKeyHeader)) continue;
    if (++keys > 1 || !IsIdempotencyKey(value)) {
      return Problem(400, "invalid_idempotency_key",
                     "Idempotency-Key is given once, with 1 to 255 printable ASCII characters");
    }
  }
  return std::nullopt;
}

void EmailApi::PostEmail(const HttpRequest& request, const HttpReply& reply) {
  if (auto problem = CheckPost(request)) return reply(std::move(*problem));
  if (request.body.size() > MaxMailBytes()) return reply(Problem(413, "too_large", TooLarge()));
  const std::string_view key = request.header(kKeyHeader);
  const int64_t now = UnixTimeMs();
  std::vector<Accepted> mails;
  std::vector<Violation> violations;
  if (!Accept(request.body, key.empty() ? "" : IdOfKey(key), now, "", mails, violations)) {
    // No pointer into the document: it is none.
    if (violations.front().pointer.empty()) {
      return reply(Problem(400, "malformed_json", violations.front().detail));
    }
    return reply(Problem(422, "invalid_event", "the event breaks the rules below", violations));
  }
  Publish(request, std::move(mails), now, false, reply);
}

void EmailApi::PostBatch(const HttpRequest& request, const HttpReply& reply) {
  if (auto problem = CheckPost(request)) return reply(std::move(*problem));
  const auto elements = SplitJsonArray(request.body);
  if (!elements) return reply(Problem(400, "malformed_json", "a batch is a JSON array of mails"));
  if (elements->empty() || elements->size() > kMaxBatch) {
    return reply(Problem(
        422, "invalid_batch",
        "a batch has 1 to " + std::to_string(kMaxBatch) + " mails, this one has " + std::to_string(elements->size())));
  }
  const std::string_view key = request.header(kKeyHeader);
  const int64_t now = UnixTimeMs();
  std::vector<Accepted> mails;
  mails.reserve(elements->size());
  std::vector<Violation> violations;
  for (size_t i = 0; i < elements->size() && violations.size() < kMaxViolations; ++i) {
    const std::string pointer = "/" + std::to_string(i);
    if ((*elements)[i].size() > MaxMailBytes()) {
      violations.push_back({pointer, TooLarge()});
    } else {
      static_cast<void>(Accept((*elements)[i], key.empty() ? "" : IdOfKey(key, i), now, pointer, mails, violations));
    }
  }
  if (!violations.empty()) {
    return reply(
        Problem(422, "invalid_event", "mails of the batch break the rules below; none was accepted", violations));
  }
  Publish(request, std::move(mails), now, true, reply);
}

void EmailApi::GetEmail(const HttpRequest& request, const HttpReply& reply) {
  const std::string id = IdIn(request.path);
  const auto history = IsValidId(id) ? history_.Find(id) : Status::NotFound("it is no id");
  if (history.ok()) {
    HttpResponse response;
    AppendEmailStatus(id, *history, response.body);
    return reply(std::move(response));
  }
  if (history.status().kind() == ErrorKind::kNotFound) return reply(NoSuchEmail());
  reply(Problem(503, "status_unavailable", history.status().message()));
}

void EmailApi::CancelEmail(const HttpRequest& request, const HttpReply& reply) {
  const std::string id = IdIn(request.path);
  if (!IsValidId(id)) return reply(NoSuchEmail());
  // What is not known here may be known to a host: another process may have accepted it.
  if (const auto history = history_.Find(id); history.ok()) {
    if (const Status may = MayBeCancelled(*history); !may.ok()) return reply(NotCancelled(may));
  }
  const Status taken = queue_.Cancel(
      id, [id, reply](const Status& done) { reply(done.ok() ? CancelRequested(id) : NotCancelled(done)); });
  if (!taken.ok()) reply(NotCancelled(taken));
}

void EmailApi::GetOpenApi(const HttpRequest&, const HttpReply& reply) {
  HttpResponse response;
  response.body = OpenApi();
  reply(std::move(response));
}

bool EmailApi::Accept(std::string_view json, const std::string& fixed_id, int64_t now, const std::string& pointer,
                      std::vector<Accepted>& mails, std::vector<Violation>& violations) {
  std::vector<Violation> found;
  const std::lock_guard lock(rules_mutex_);
  Acceptor& acceptor = rules_->acceptor;
  if (!acceptor.Accept(json, now, fixed_id)) {
    found = acceptor.violations();
  } else if (rules_->template_check.Check(json, acceptor.event(), found)) {
    const EmailEvent& event = acceptor.event();
    Accepted& mail = mails.emplace_back(Accepted{.id = acceptor.id(),
                                                 .value = acceptor.value(),
                                                 .priority = event.priority,
                                                 .recipients = RecipientSet::All(event.recipient_count()),
                                                 .recipient_hashes = {}});
    hasher_.Hash(event, mail.recipients, mail.recipient_hashes);
    return true;
  }
  for (Violation& violation : found) violations.push_back({pointer + violation.pointer, std::move(violation.detail)});
  return false;
}

void EmailApi::Publish(const HttpRequest& request, const std::vector<Accepted>& mails, int64_t now, bool batch,
                       const HttpReply& reply) {
  const std::string_view key = request.header(kKeyHeader);
  Posted posted{.ids = {}, .batch = batch, .has_key = !key.empty()};
  std::vector<NewEvent> events;
  std::vector<StatusRecord> queued;
  for (const Accepted& mail : mails) {
    posted.ids.push_back(mail.id);
    events.push_back({.id = mail.id,
                      .priority = mail.priority,
                      .accepted_at_unix_ms = now,
                      .value = mail.value,
                      .traceparent = request.header("traceparent"),
                      .recipients = mail.recipients,
                      .recipient_hashes = mail.recipient_hashes});
    StatusRecord& record = queued.emplace_back();
    record.id = mail.id;
    record.recipients = mail.recipients;
    record.recipient_hashes = mail.recipient_hashes;
    record.at_unix_ms = now;
  }
  const std::string request_id = key.empty() ? "" : IdOfKey(key);
  const std::string digest = key.empty() ? "" : DigestOf(request.body);
  const Status taken = queue_.Publish({.events = events, .request_id = request_id, .digest = digest},
                                      [this, posted, queued = std::move(queued), reply](const Status& published) {
                                        if (!published.ok()) return reply(Refused(published, posted));
                                        history_.NoteQueued(queued);
                                        reply(AcceptedAnswer(posted));
                                      });
  if (!taken.ok()) reply(Refused(taken, posted));
}

size_t EmailApi::MaxMailBytes() const {
  return max_event_bytes_ - std::min(max_event_bytes_, EventLimits::kAcceptanceBytes);
}

std::string EmailApi::TooLarge() const {
  return "the mail is larger than limits.max_event (" + std::to_string(max_event_bytes_) + " bytes, of which " +
         std::to_string(EventLimits::kAcceptanceBytes) + " are kept for the frame)";
}

Status CheckApiAddress(const Config& config) {
  if (IsLoopback(config.api.address)) return {};
  return Status::Invalid(config.api.mark.ToString() + ": api.listen: \"" + config.api.address +
                         "\" can be reached from other machines, and this version has no API keys yet; listen on "
                         "127.0.0.1 and put a reverse proxy with authentication in front");
}

}  // namespace postbus
