#include "admin/pause_request.h"

#include <rapidjson/document.h>

#include "api/problem.h"
#include "event/clock.h"
#include "event/email_event.h"
#include "host/plugin_options.h"

namespace postbus {
namespace {

// "" where it is no string, or absent.
std::string TextOf(const rapidjson::Document& body, const char* name) {
  const auto member = body.FindMember(name);
  if (member == body.MemberEnd() || !member->value.IsString()) return {};
  return {member->value.GetString(), member->value.GetStringLength()};
}

}  // namespace

HttpResponse AnswerPause(const HttpRequest& request, Pauses& pauses) {
  const bool pause = request.path == "/-/pause";
  // A page in somebody's browser may post here, but not with this type.
  if (!request.header("Content-Type").starts_with("application/json")) {
    return Problem(415, "unsupported_media_type", request.path + " takes Content-Type: application/json");
  }
  rapidjson::Document body;
  body.Parse(request.body.data(), request.body.size());
  const bool is_object = !body.HasParseError() && body.IsObject();
  const std::string transport = is_object ? TextOf(body, "transport") : "";
  const std::string duration = is_object ? TextOf(body, "for") : "";
  const bool has_duration = is_object && body.HasMember("for");
  const auto duration_ms = ParseDurationMs(duration);
  const size_t members = is_object ? body.MemberCount() : 0;
  if (transport.empty() || members != (has_duration ? 2U : 1U) || (has_duration && (!pause || !duration_ms))) {
    return Problem(400, "invalid_request",
                   pause ? R"(the body must be {"transport": "NAME"} or {"transport": "NAME", "for": "1h"})"
                         : R"(the body must be {"transport": "NAME"})");
  }
  const int64_t until = !pause ? 0 : has_duration ? UnixTimeMs() + *duration_ms : Pauses::kNoEnd;
  if (const Status status = pauses.Set(transport, until); !status.ok()) {
    const bool unknown = status.kind() == ErrorKind::kNotFound;
    return Problem(unknown ? 404 : 503, unknown ? "no_such_transport" : "not_kept", status.message());
  }
  HttpResponse response;
  response.content_type = "text/plain; charset=utf-8";
  response.body = transport + (pause ? " is paused" : " goes on");
  if (pause) response.body += has_duration ? " until " + FormatRfc3339(until) : " until it is resumed";
  response.body += "\n";
  return response;
}

}  // namespace postbus
