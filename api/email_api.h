// api/email_api.h - the HTTP API: POST /v1/emails. An event is answered 202 only after the queue has it durably.
#pragma once

#include <string>

#include "api/acceptor.h"
#include "api/http_server.h"
#include "host/config.h"
#include "host/metrics.h"
#include "queue/queue.h"

namespace postbus {

// Handles requests on the HttpServer's thread; answers from the queue's. Everything given outlives it and its answers.
class EmailApi {
 public:
  EmailApi(const Config& config, Queue& queue, Metrics& metrics);

  void Handle(HttpRequest&& request, HttpReply reply);

  // What the server must take in for the largest event.
  static HttpLimits Limits(const Config& config);

 private:
  void PostEmail(const HttpRequest& request, const HttpReply& reply);

  const Config& config_;
  Queue& queue_;
  Metrics& metrics_;
  Acceptor acceptor_;
};

// An API address other than loopback is refused until there are keys. The error stands at the key in the configuration.
Status CheckApiAddress(const Config& config);

}  // namespace postbus
