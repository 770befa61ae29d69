// api/email_api.h - the HTTP API: mails are posted to /v1/emails, or up to 500 at once to /v1/emails/batch; what became
// of one is told at /v1/emails/{id}, and /v1/emails/{id}/cancel takes it back. An event is answered 202 only after the
// queue has it durably. openapi.json says the same for programs.
#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "api/acceptor.h"
#include "api/http_server.h"
#include "api/template_check.h"
#include "host/config.h"
#include "host/metrics.h"
#include "host/recipient_hash.h"
#include "host/renderer.h"
#include "queue/queue.h"
#include "queue/status_history.h"

namespace postbus {

// Handles requests on the HttpServer's thread; answers from the queue's. Queue, history and metrics outlive it
// and its answers.
class EmailApi {
 public:
  static constexpr size_t kMaxBatch = 500;
  static constexpr size_t kMaxBatchBytes = 8 * 1024 * 1024;

  EmailApi(const Config& config, std::shared_ptr<const Renderer> renderer, Queue& queue, StatusHistory& history,
           Metrics& metrics);

  // From the next mail on accepts by these; when it returns nobody here uses the former renderer. [any thread]
  void Reload(const Config& config, std::shared_ptr<const Renderer> renderer);

  void Handle(HttpRequest&& request, HttpReply reply);

  // {"openapi":"3.1.0",…}
  static std::string_view OpenApi();

  // What the server must take in for the largest batch.
  static HttpLimits Limits(const Config& config);

 private:
  // A mail that keeps all rules, ready to be published.
  struct Accepted {
    std::string id;
    std::string value;
    Priority priority;
    RecipientSet recipients;
    std::vector<uint64_t> recipient_hashes;
  };

  static std::optional<HttpResponse> CheckPost(const HttpRequest& request);
  void PostEmail(const HttpRequest& request, const HttpReply& reply);
  void PostBatch(const HttpRequest& request, const HttpReply& reply);
  void GetEmail(const HttpRequest& request, const HttpReply& reply);
  void CancelEmail(const HttpRequest& request, const HttpReply& reply);
  void GetOpenApi(const HttpRequest& request, const HttpReply& reply);
  // False: what is wrong was added to `violations`, with `pointer` before each of its own.
  bool Accept(std::string_view json, const std::string& fixed_id, int64_t now, const std::string& pointer,
              std::vector<Accepted>& mails, std::vector<Violation>& violations);
  void Publish(const HttpRequest& request, const std::vector<Accepted>& mails, int64_t now, bool batch,
               const HttpReply& reply);
  size_t MaxMailBytes() const;
  std::string TooLarge() const;

  // What mails are checked by.
  struct Rules {
    Acceptor acceptor;
    TemplateCheck template_check;
  };

  const size_t max_event_bytes_;
  Queue& queue_;
  StatusHistory& history_;
  Metrics& metrics_;
  RecipientHasher hasher_;  // the thread's that calls Handle
  std::mutex rules_mutex_;
  std::unique_ptr<Rules> rules_;  // guarded by rules_mutex_
};

// An API address other than loopback is refused until there are keys. The error stands at the key in the configuration.
Status CheckApiAddress(const Config& config);

}  // namespace postbus
