// What HTTP transports share that needs no network.
#include <curl/curl.h>
#include <openssl/evp.h>

#include <algorithm>
#include <charconv>
#include <ctime>

#include "postbus/ascii.hpp"
#include "postbus/http_transport.hpp"

namespace postbus::sdk {
namespace {

constexpr uint64_t kDayMs = 86'400'000;
constexpr int64_t kHour = 3600;

}  // namespace

std::string_view HttpResponse::Header(std::string_view name) const {
  const auto found =
      std::find_if(headers.begin(), headers.end(), [&](const auto& h) { return EqualIgnoringCase(h.first, name); });
  return found == headers.end() ? std::string_view() : found->second;
}

uint64_t RetryAfterMs(const HttpResponse& response) {
  const std::string text(response.Header("Retry-After"));
  if (text.empty()) return 0;
  uint64_t seconds = 0;
  if (const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), seconds);
      end == text.data() + text.size()) {
    return error == std::errc() ? std::min(seconds, kDayMs / 1000) * 1000 : kDayMs;
  }
  const time_t date = curl_getdate(text.c_str(), nullptr);
  const time_t now = std::time(nullptr);
  if (date <= now) return 0;  // also -1: not a date
  return std::min(static_cast<uint64_t>(date - now) * 1000, kDayMs);
}

uint64_t ResetMs(const HttpResponse& response, std::string_view name) {
  const std::string_view text = response.Header(name);
  int64_t at = 0;
  std::from_chars(text.data(), text.data() + text.size(), at);
  return static_cast<uint64_t>(std::clamp<int64_t>(at - std::time(nullptr), 0, kHour)) * 1000;
}

Outcome VerdictFromHttp(const HttpResponse& response, std::string_view provider_id, std::string_view words,
                        uint64_t throttled_ms) {
  const uint16_t status = response.status;
  const auto text = [&](std::string_view otherwise) { return std::string(words.empty() ? otherwise : words); };
  const auto verdict = [&]() -> Outcome {
    switch (status) {
      case 408:
      case 425:
        return Outcome::Transient(text("the provider did not take the request")).RetryAfter(RetryAfterMs(response));
      case 429: {
        const uint64_t retry_after_ms = RetryAfterMs(response);
        return Outcome::Throttled(retry_after_ms != 0 ? retry_after_ms : throttled_ms, text("too many requests"));
      }
      case 401:
      case 403:
      case 407:
        return Outcome::ProviderFault(text("the provider refused the credentials"));
      case 406:
      case 415:
      case 451:
        return Outcome::ProviderFault(text("the provider does not take such requests"));
      case 402:
        return Outcome::ProviderFault(text("the provider wants to be paid"));
      case 404:
      case 405:
      case 410:
        return Outcome::ProviderFault(text("the provider does not know this URL; check base_url"));
      case 502:
      case 504:
      case 520:
      case 524:
        return Outcome::InDoubt(text("a gateway of the provider lost the answer"));
      default:
        break;
    }
    if (status >= 500) {
      return Outcome::ProviderFault(text("the provider is in trouble")).RetryAfter(RetryAfterMs(response));
    }
    if (status >= 400) return Outcome::RejectedMessage(text("the provider refused the mail"));
    if (status >= 300) return Outcome::ProviderFault(text("the provider redirects elsewhere; check base_url"));
    if (status >= 200 && !provider_id.empty()) {
      return Outcome::Accepted(std::string(provider_id), text("queued as " + std::string(provider_id)));
    }
    return Outcome::InDoubt("the answer has no id of the mail: it may not be the provider's; check base_url");
  };
  return verdict().At(POSTBUS_PHASE_REQUEST, status);
}

void AppendBase64(std::string_view bytes, std::string& out) {
  constexpr size_t kAtOnce =
      3 << 20;  // EVP_EncodeBlock counts in int; a multiple of 3, so that no padding comes between
  for (; !bytes.empty(); bytes.remove_prefix(std::min(bytes.size(), kAtOnce))) {
    const std::string_view piece = bytes.substr(0, kAtOnce);
    const size_t begin = out.size();
    out.resize(begin + (piece.size() + 2) / 3 * 4 + 1);  // and the NUL it writes
    EVP_EncodeBlock(reinterpret_cast<unsigned char*>(out.data() + begin),
                    reinterpret_cast<const unsigned char*>(piece.data()), static_cast<int>(piece.size()));
    out.pop_back();
  }
}

}  // namespace postbus::sdk
