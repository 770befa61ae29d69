#include "admin/admin_server.h"

#include "admin/drain_request.h"
#include "admin/pause_request.h"
#include "api/problem.h"

namespace postbus {
namespace {

HttpResponse Text(int status, std::string body) {
  HttpResponse response;
  response.status = status;
  response.content_type = "text/plain; charset=utf-8";
  response.body = std::move(body);
  return response;
}

HttpResponse NotAllowed(const std::string& path, const char* allowed) {
  HttpResponse response = Problem(405, "method_not_allowed", path + " takes " + allowed);
  response.headers.emplace_back("Allow", allowed);
  return response;
}

HttpResponse Answer(const HttpRequest& request, const Metrics& metrics, const std::function<Status()>& ready) {
  const bool known = request.path == "/metrics" || request.path == "/livez" || request.path == "/readyz";
  if (!known) {
    return Problem(
        404, "no_such_route",
        "the admin port serves /metrics, /livez and /readyz, and POST /-/reload, /-/pause, /-/resume, /-/drain");
  }
  if (request.method != "GET" && request.method != "HEAD") return NotAllowed(request.path, "GET");
  if (request.path == "/livez") return Text(200, "ok\n");
  if (request.path == "/readyz") {
    const Status status = ready();
    return status.ok() ? Text(200, "ok\n") : Text(503, std::string(status.message()) + "\n");
  }
  HttpResponse response = Text(200, metrics.Serialize());
  response.content_type = "text/plain; version=0.0.4; charset=utf-8";
  return response;
}

}  // namespace

Result<std::unique_ptr<HttpServer>> StartAdminServer(const Config& config, const Metrics& metrics,
                                                     AdminActions actions) {
  HttpLimits limits;
  limits.connections = 64;
  return HttpServer::Start(
      config.admin.address, config.admin.port, limits,
      [&metrics, actions = std::move(actions)](HttpRequest&& request, const HttpReply& reply) {
        if (request.path == "/-/reload") {
          if (request.method == "POST") return actions.reload(reply);
          return reply(NotAllowed(request.path, "POST"));
        }
        if (request.path == "/-/pause" || request.path == "/-/resume") {
          if (request.method != "POST") return reply(NotAllowed(request.path, "POST"));
          return reply(AnswerPause(request, *actions.pauses));
        }
        if (request.path == "/-/drain") {
          if (request.method != "POST") return reply(NotAllowed(request.path, "POST"));
          return reply(AnswerDrain(request, actions.drain));
        }
        HttpResponse response = Answer(request, metrics, actions.ready);
        if (request.method == "HEAD") response.body.clear();
        reply(std::move(response));
      },
      HttpErrorProblem);
}

}  // namespace postbus
