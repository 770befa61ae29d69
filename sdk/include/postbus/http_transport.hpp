// postbus/http_transport.hpp - a transport to a provider with an HTTP API. The author writes Build (a mail becomes a
// request) and Verdict (a response becomes an outcome); connections, TLS, timeouts, the proxy, concurrency, the point
// of no return, cancelling and completing exactly once are the SDK's. Link postbus_sdk_http; libcurl is its business
// alone.
//
//   class Acme : public sdk::HttpTransport {
//    public:
//     Acme(sdk::Host host, const sdk::Options& options)
//         : HttpTransport(host, options, {.base_url = "https://api.acme.example"}), token_(options.String("token")) {}
//
//     std::optional<sdk::Outcome> Build(const postbus_mail& mail, sdk::HttpRequest& request) override {
//       request.path = "/v1/raw";
//       request.headers = {"Authorization: Bearer " + token_, "Content-Type: message/rfc822"};
//       request.body = sdk::View(mail.raw);
//       return std::nullopt;
//     }
//     sdk::Outcome Verdict(const postbus_mail&, const sdk::HttpResponse& response) override {
//       return sdk::VerdictFromHttp(response, response.Header("X-Acme-Id"));
//     }
//
// with `sdk::WithHttpOptions(std::array{ ...its own... })` as the option table. docs/write-a-transport.md has it whole.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "postbus/transport.hpp"

namespace postbus::sdk {

// A POST. Empty when Build gets it; its memory is reused.
struct HttpRequest {
  std::string path;                  // appended to the base URL: "/v1/send"
  std::vector<std::string> headers;  // "Name: value"
  std::string body;                  // not empty: its first byte is the point of no return
};

struct HttpResponse {
  uint16_t status = 0;
  std::vector<std::pair<std::string, std::string>> headers;
  std::string body;  // its first 256 KiB

  // The first header of this name in any case; empty if there is none.
  std::string_view Header(std::string_view name) const;
};

// What a status means where the provider's documentation says nothing else; `words` are the provider's own, for the
// log.
//   2xx            ACCEPTED with `provider_id`; IN_DOUBT where that is empty: whoever answered may not be the provider
//   408, 425       TRANSIENT
//   429            THROTTLED, as long as Retry-After says, else for `throttled_ms`
//   401-407, 410, 415, 451, 3xx, 500, 503, other 5xx   PROVIDER_FAULT: credentials, quota, a wrong URL, its own trouble
//   502, 504, 520, 524   IN_DOUBT: a gateway lost the answer, and the mail may be on its way
//   other 4xx      REJECTED_MESSAGE
Outcome VerdictFromHttp(const HttpResponse& response, std::string_view provider_id, std::string_view words = {},
                        uint64_t throttled_ms = 0);

// Of the header Retry-After, in seconds or as an HTTP date; 0 = not said. At most a day.
uint64_t RetryAfterMs(const HttpResponse& response);

// Of a header that has Unix seconds in it, such as X-RateLimit-Reset: how long until then. 0 = not said, or over. At
// most an hour.
uint64_t ResetMs(const HttpResponse& response, std::string_view name);

void AppendBase64(std::string_view bytes, std::string& out);

// The options every HTTP transport has. HttpTransport reads them.
inline constexpr std::array kHttpOptions = {
    StringOption("base_url", "Where requests go instead of the provider's address: a proxy of yours, a test server.")
        .Default(""),
    IntegerOption("max_requests", "Requests at the same time.").Default("32").Range(1, 1000).Unit("requests"),
    DurationOption("timeout",
                   "Time for a request and its answer; a shorter one than the provider's own sends mails twice.")
        .Default("60s")
        .Range(1, 3'600'000),
    DurationOption("connect_timeout", "Time for name resolution, connect and TLS.").Default("10s").Range(1, 3'600'000),
    PathOption("ca_file", "Certificates (PEM) to trust instead of the system's.").Default(""),
    StringOption("proxy", "http://[user:password@]host:port of an HTTP proxy; empty: none.").Default("").Secret(),
};

// The author's options, then kHttpOptions: the table to export.
template <size_t kOwn>
constexpr auto WithHttpOptions(const std::array<Option, kOwn>& own) {
  return [&]<size_t... kI, size_t... kJ>(std::index_sequence<kI...>, std::index_sequence<kJ...>) {
    return std::array<Option, kOwn + kHttpOptions.size()>{own[kI]..., kHttpOptions[kJ]...};
  }
  (std::make_index_sequence<kOwn>(), std::make_index_sequence<kHttpOptions.size()>());
}

struct HttpSettings {
  std::string base_url;              // https://host[:port][/path]; http:// only to this machine
  uint32_t max_batch = 1;            // mails in one request; above 1: override Join and Verdicts
  size_t max_batch_bytes = 1 << 20;  // of their bodies; a larger one goes alone
};

// One thread an instance, and every virtual function is called on it, one at a time. As in BlockingTransport it is
// joined by this class's destructor: the host destroys only at Outstanding() == 0, when none of them runs.
class HttpTransport : public Transport {
 public:
  // Throws std::runtime_error where an option cannot be.
  HttpTransport(Host host, const Options& options, HttpSettings settings);
  ~HttpTransport() override;

  // Connects, with TLS, to the base URL. Override it where credentials can be tried without sending a mail.
  bool Probe(int64_t deadline_ms, std::string& report) override;

  uint32_t Submit(std::span<const postbus_mail* const> mails) final;
  void Cancel(std::span<const uint64_t> tokens) final;
  void Quiesce(int64_t deadline_ms) final;
  uint32_t Outstanding() const final;

  // The author's part; public, so that the author's tests can call it.
  // Makes the request of one mail. An outcome ends the attempt instead: nothing is sent. What it throws becomes
  // PROVIDER_FAULT.
  virtual std::optional<Outcome> Build(const postbus_mail& mail, HttpRequest& request) = 0;

  // A whole answer came. What it throws becomes IN_DOUBT.
  virtual Outcome Verdict(const postbus_mail& mail, const HttpResponse& response) = 0;

  // One request of several mails, each as Build made it. Called for two mails and more.
  virtual void Join(std::span<const HttpRequest> requests, HttpRequest& request);

  // One outcome for each mail of such a request, in its order; one for all of them; or none, where the request was
  // refused for one mail nobody can name: then each goes again by itself. Another number makes all IN_DOUBT.
  virtual std::vector<Outcome> Verdicts(std::span<const postbus_mail* const> mails, const HttpResponse& response);

  // "api.acme.example" or "127.0.0.1:8443": the Host header, for those who sign it.
  const std::string& authority() const;

 protected:
  const Host& host() const;

 private:
  class Worker;
  std::unique_ptr<Worker> worker_;
};

}  // namespace postbus::sdk
