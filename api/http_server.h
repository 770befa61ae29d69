// api/http_server.h - a small HTTP/1.1 server for the API and the admin port: bounded in header and body size, time,
// memory and connections; answers may come later and from any thread. Boost.Beast stays in http_server.cc.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "event/status.h"

namespace postbus {

struct HttpRequest {
  std::string method;  // "POST"
  std::string path;    // without query
  std::string query;   // without "?"
  std::string body;
  std::vector<std::pair<std::string, std::string>> headers;

  // The first header of that name, in any case; "" if there is none.
  std::string_view header(std::string_view name) const;
};

// Names of headers: ASCII letters are equal in any case.
bool EqualsIgnoringCase(std::string_view a, std::string_view b);

struct HttpResponse {
  int status = 200;
  std::string content_type = "application/json";
  std::string body;
  std::vector<std::pair<std::string, std::string>> headers;
};

// Answers a request: call it exactly once, from any thread.
using HttpReply = std::function<void(HttpResponse)>;
using HttpHandler = std::function<void(HttpRequest&&, HttpReply)>;
// What the server answers by itself: 400 (no HTTP), 408, 413, 431, 503 (too many connections or bytes).
using HttpErrorPage = std::function<HttpResponse(int status, std::string_view detail)>;

struct HttpLimits {
  size_t header_bytes = 16 * 1024;
  size_t body_bytes = 1024 * 1024;
  size_t all_bodies_bytes = 256 * 1024 * 1024;  // of all requests that are being read
  int header_seconds = 10;                      // to read a request's header
  int body_seconds = 30;                        // to read its body; to write an answer
  int idle_seconds = 75;                        // between two requests of a connection
  size_t connections = 2048;
};

class HttpServer {
 public:
  // Listens and serves on a thread of its own. `port` 0 takes a free one. `handler` is called on that thread and must
  // not block. The error names the address.
  static Result<std::unique_ptr<HttpServer>> Start(const std::string& address, uint16_t port, const HttpLimits& limits,
                                                   HttpHandler handler, HttpErrorPage error_page);
  ~HttpServer();  // stops at once

  uint16_t port() const;

  // Takes no new connection or request; lets answers under way go out until the deadline. Returns when done.
  void Stop(int64_t deadline_boot_ms);

 private:
  HttpServer();
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// Is it an address of this machine only (127.0.0.0/8, ::1, localhost)?
bool IsLoopback(std::string_view address);

}  // namespace postbus
