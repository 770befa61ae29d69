#include "admin/drain_request.h"

#include <rapidjson/document.h>

#include "api/problem.h"

namespace postbus {

HttpResponse AnswerDrain(const HttpRequest& request, const std::function<void(bool leave)>& drain) {
  // A page in somebody's browser may post here, but not with this type.
  if (!request.header("Content-Type").starts_with("application/json")) {
    return Problem(415, "unsupported_media_type", request.path + " takes Content-Type: application/json");
  }
  rapidjson::Document body;
  body.Parse(request.body.data(), request.body.size());
  const bool is_object = !body.HasParseError() && body.IsObject();
  const bool has_leave = is_object && body.HasMember("leave") && body["leave"].IsBool();
  if (!is_object || body.MemberCount() != (has_leave ? 1U : 0U)) {
    return Problem(400, "invalid_request", R"(the body must be {} or {"leave": true})");
  }
  const bool leave = has_leave && body["leave"].GetBool();
  drain(leave);
  HttpResponse response;
  response.status = 202;
  response.content_type = "text/plain; charset=utf-8";
  response.body = leave ? "draining; it ends when its mails are done, and leaves its group to the others\n"
                        : "draining; it ends when its mails are done\n";
  return response;
}

}  // namespace postbus
