// tests/support/http/provider_test.h - what the verdict tests of the HTTP transports share: a response, and how a
// verdict reads in a table: "THROTTLED 3000 too fast".
#pragma once

#include <rapidjson/document.h>

#include <array>
#include <string>
#include <utility>
#include <vector>

#include "postbus/http_transport.hpp"
#include "postbus/testing/fake_host.hpp"

namespace postbus::testing {

using ResponseHeaders = std::vector<std::pair<std::string, std::string>>;

inline sdk::HttpResponse Response(uint16_t status, std::string body, ResponseHeaders headers = {}) {
  return {.status = status, .headers = std::move(headers), .body = std::move(body)};
}

inline std::string Name(int32_t outcome) {
  constexpr std::array kNames = {"?",        "ACCEPTED",    "TRANSIENT",      "THROTTLED", "REJECTED_RECIPIENT",
                                 "REJECTED", "UNSUPPORTED", "PROVIDER_FAULT", "NOT_SENT",  "IN_DOUBT"};
  return kNames.at(static_cast<size_t>(outcome));
}

inline std::string Text(const sdk::Outcome& outcome) {
  std::string text = Name(outcome.outcome);
  if (outcome.retry_after_ms != 0) text += " " + std::to_string(outcome.retry_after_ms);
  for (const sdk::RecipientOutcome& recipient : outcome.recipients) {
    text += " [" + std::to_string(recipient.recipient) + "]=" + Name(recipient.outcome);
  }
  return text + (outcome.outcome == POSTBUS_ACCEPTED ? " id=" + outcome.provider_id : " " + outcome.text);
}

// The request's body, read by another function than the plugin's own.
inline rapidjson::Document Json(const sdk::HttpRequest& request) {
  rapidjson::Document document;
  document.Parse(request.body.c_str());
  return document;
}

}  // namespace postbus::testing
