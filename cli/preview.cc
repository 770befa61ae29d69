#include "cli/preview.h"

#include <algorithm>
#include <utility>

#include "api/problem.h"
#include "cli/command.h"
#include "cli/template_files.h"
#include "event/email_event.h"
#include "host/plugin_set.h"

namespace postbus {
namespace {

HttpResponse Json(std::string body) {
  HttpResponse response;
  response.body = std::move(body);
  response.headers.emplace_back("Cache-Control", "no-store");
  return response;
}

// A page of elsewhere must not read the templates by a name it points to this machine.
bool IsForThisMachine(std::string_view host) {
  const std::string_view name = host.substr(0, host.rfind(']') == host.npos ? host.rfind(':') : host.rfind(']') + 1);
  return name == "[::1]" || IsLoopback(name);
}

// Names of templates need no percent-encoding.
std::string_view TemplateOf(std::string_view query) {
  constexpr std::string_view kKey = "template=";
  return query.starts_with(kKey) ? query.substr(kKey.size()) : std::string_view();
}

}  // namespace

Preview::Preview(const Config& config, QueueLog log)
    : config_(config), log_(std::move(log)), directory_(TemplateDirectory(config)) {}

HttpResponse Preview::Answer(const HttpRequest& request) {
  if (!IsForThisMachine(request.header("Host"))) {
    return Problem(400, "wrong_host", "ask for localhost or 127.0.0.1");
  }
  const bool render = request.path == "/render";
  if (!render && request.path != "/" && request.path != "/templates") {
    return Problem(404, "no_such_route", "the preview is at /");
  }
  if (request.method != (render ? "POST" : "GET")) {
    HttpResponse response = Problem(405, "method_not_allowed", request.path + " takes " + (render ? "POST" : "GET"));
    response.headers.emplace_back("Allow", render ? "POST" : "GET");
    return response;
  }
  if (request.path == "/") {
    HttpResponse response;
    response.content_type = "text/html; charset=utf-8";
    response.body = kPreviewPage;
    return response;
  }
  ReadAgainWhereChanged();
  return Json(render ? RenderJson(TemplateOf(request.query), request.body) : TemplatesJson());
}

void Preview::ReadAgainWhereChanged() {
  const uint64_t stamp = DirectoryStamp(directory_);
  if (stamp == stamp_) return;
  stamp_ = stamp;
  auto renderer = LoadRenderer(config_, log_);
  renderer_ = renderer.ok() ? std::move(*renderer) : nullptr;
  error_ = renderer.status().message();
}

std::string Preview::TemplatesJson() {
  std::string json = "{";
  AddJsonMember("stamp", std::to_string(stamp_), json);
  if (renderer_ == nullptr) {
    AddJsonMember("error", error_, json);
    return json + "}\n";
  }
  json += ",\"templates\":[";
  for (const std::string& name : renderer_->Templates()) {
    if (json.back() != '[') json += ',';
    AppendJsonString(name, json);
  }
  return json + "]}\n";
}

std::string Preview::RenderJson(std::string_view name, std::string data) {
  std::string json = "{";
  if (renderer_ == nullptr) {
    AddJsonMember("error", error_, json);
    return json + "}\n";
  }
  const std::vector<std::string> names = renderer_->Templates();
  const bool known = std::find(names.begin(), names.end(), name) != names.end();
  if (data.empty()) data = known ? SampleData(directory_, name).value_or("{}") : "{}";
  AddJsonMember("data", data, json);
  if (renderer_->Render(name, data, rendered_) != RenderOutcome::kOk) {
    AddJsonMember("error", rendered_.error, json);
    return json + "}\n";
  }
  AddJsonMember("subject", rendered_.subject, json);
  AddJsonMember("text", rendered_.text, json);
  AddJsonMember("html", rendered_.html, json);
  return json + "}\n";
}

}  // namespace postbus
