// tests/support/http/provider_test.h - what the tests of the HTTP transports share: the fixture, a response, a full
// mail, and how a verdict reads in a table: "THROTTLED 3000 too fast".
#pragma once

#include <gtest/gtest.h>
#include <rapidjson/document.h>

#include <array>
#include <memory>
#include <span>
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

// A mail with all there can be: reply_to, cc, two of bcc, headers, a file, an inline image, tags, metadata.
class FullMail {
 public:
  FullMail() {
    mail_.recipients = {"a@example.org", "c@example.org", "x@example.org", "y@example.org"};
    mail_.html = "<p>Hello</p>";
    view_ = mail_.view();
    parts_ = *view_.parts;
    parts_.n_to = 1;
    parts_.cc = &mailboxes_[0];
    parts_.n_cc = 1;
    parts_.bcc = &mailboxes_[1];
    parts_.n_bcc = 2;
    parts_.reply_to = &mailboxes_[3];
    parts_.n_reply_to = 1;
    parts_.headers = headers_.data();
    parts_.n_headers = 1;
    parts_.attachments = files_.data();
    parts_.n_attachments = 2;
    parts_.tags = tags_.data();
    parts_.n_tags = 2;
    parts_.metadata = metadata_.data();
    parts_.n_metadata = 1;
    view_.parts = &parts_;
  }

  postbus_mail& view() { return view_; }
  postbus_parts& parts() { return parts_; }

 private:
  static postbus_attachment File(const char* name, const char* type, const char* content_id) {
    return {.size = sizeof(postbus_attachment),
            .reserved = 0,
            .filename = sdk::Str(name),
            .content_type = sdk::Str(type),
            .content_id = sdk::Str(content_id),
            .base64 = sdk::Str("aGk=")};
  }

  sdk::testing::FakeMail mail_{1};
  const std::array<postbus_mailbox, 5> mailboxes_ = {{{sdk::Str("Cee"), sdk::Str("c@example.org")},
                                                      {sdk::Str(""), sdk::Str("x@example.org")},
                                                      {sdk::Str(""), sdk::Str("y@example.org")},
                                                      {sdk::Str("Help"), sdk::Str("help@example.com")},
                                                      {sdk::Str(""), sdk::Str("more@example.com")}}};
  const std::array<postbus_header, 1> headers_ = {{{sdk::Str("X-Campaign"), sdk::Str("Gr\u00fc\u00dfe")}}};
  const std::array<postbus_header, 1> metadata_ = {{{sdk::Str("order"), sdk::Str("42")}}};
  const std::array<postbus_str, 2> tags_ = {sdk::Str("welcome"), sdk::Str("eu")};
  const postbus_attachment file_ = File("Rechnung \u00fc.pdf", "application/pdf; x=y", "");
  const postbus_attachment image_ = File("logo.png", "image/png", "logo");
  const std::array<const postbus_attachment*, 2> files_ = {&file_, &image_};
  postbus_mail view_ = {};
  postbus_parts parts_ = {};
};

// The request's body, read by another function than the plugin's own.
inline rapidjson::Document Json(const sdk::HttpRequest& request) {
  rapidjson::Document document;
  document.Parse(request.body.c_str());
  return document;
}

// The transport of a provider with the options all of them have.
template <typename Transport>
class ProviderTest : public ::testing::Test {
 protected:
  using Given = std::vector<std::pair<std::string, sdk::testing::FakeOptions::Value>>;

  std::unique_ptr<Transport> Make(std::span<const sdk::Option> table, Given given) const {
    for (auto& [name, value] : Given{{"max_requests", 4}, {"timeout", 60'000}, {"connect_timeout", 10'000}}) {
      given.emplace_back(name, value);
    }
    const sdk::testing::FakeOptions options(table, std::move(given));
    return std::make_unique<Transport>(host_.host(), options.options());
  }

  sdk::testing::FakeHost host_;
  sdk::testing::FakeMail mail_{1};
};

}  // namespace postbus::testing
