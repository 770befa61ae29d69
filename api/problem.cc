#include "api/problem.h"

namespace postbus {
namespace {

std::string_view Title(int status) {
  switch (status) {
    case 400:
      return "Bad Request";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 408:
      return "Request Timeout";
    case 409:
      return "Conflict";
    case 413:
      return "Content Too Large";
    case 415:
      return "Unsupported Media Type";
    case 422:
      return "Unprocessable Content";
    case 431:
      return "Request Header Fields Too Large";
    case 503:
      return "Service Unavailable";
    default:
      return "Error";
  }
}

std::string_view Code(int status) {
  switch (status) {
    case 400:
      return "malformed_request";
    case 408:
      return "timeout";
    case 413:
      return "too_large";
    case 431:
      return "header_too_large";
    case 503:
      return "overloaded";
    default:
      return "error";
  }
}

}  // namespace

HttpResponse Problem(int status, std::string_view code, std::string_view detail, std::span<const Violation> errors,
                     std::string_view members) {
  HttpResponse response;
  response.status = status;
  response.content_type = "application/problem+json";
  std::string& body = response.body;
  body = R"({"type":"about:blank","title":)";
  AppendJsonString(Title(status), body);
  body += ",\"status\":" + std::to_string(status) + ",\"code\":";
  AppendJsonString(code, body);
  body += ",\"detail\":";
  AppendJsonString(detail, body);
  if (!errors.empty()) {
    body += ",\"errors\":[";
    for (const Violation& error : errors) {
      if (body.back() != '[') body += ',';
      body += "{\"pointer\":";
      AppendJsonString(error.pointer, body);
      body += ",\"detail\":";
      AppendJsonString(error.detail, body);
      body += '}';
    }
    body += ']';
  }
  if (!members.empty()) body.append(",").append(members);
  body += "}\n";
  if (status == 503) response.headers.emplace_back("Retry-After", "1");
  return response;
}

HttpResponse HttpErrorProblem(int status, std::string_view detail) { return Problem(status, Code(status), detail); }

}  // namespace postbus
