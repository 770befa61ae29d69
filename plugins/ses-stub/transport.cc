#include "plugins/ses-stub/transport.h"

#include <chrono>
#include <vector>

#include "plugins/ses-stub/verdict.h"
#include "postbus/json_mail.hpp"

namespace postbus::ses_stub {
namespace {

constexpr int64_t kThreads = 4;  // requests at the same time

int64_t UnixNowMs() {
  const auto since_epoch = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::milliseconds>(since_epoch).count();
}

AccountSettings SettingsOf(const sdk::Options& options) {
  using State = AccountSettings::State;
  const std::string state = options.Enum("account");
  AccountSettings settings;
  settings.state = state == "suspended"        ? State::kSuspended
                   : state == "sending_paused" ? State::kSendingPaused
                                               : State::kActive;
  settings.max_message_bytes = options.Size("max_message_size");
  settings.max_send_rate = options.Integer("max_send_rate");
  settings.max_24_hour_send = options.Integer("max_24_hour_send");
  settings.verified_identities = options.List("verified_identities");
  return settings;
}

std::vector<std::string_view> Recipients(const postbus_mail& mail) {
  std::vector<std::string_view> recipients;
  for (uint32_t i = 0; i < mail.n_recipients; ++i) recipients.push_back(sdk::View(mail.recipients[i]));
  return recipients;
}

void WriteRequest(const postbus_mail& mail, sdk::JsonBody& json) {
  json.BeginObject("request");
  json.Text("FromEmailAddress", sdk::View(mail.sender));
  json.BeginObject("Destination");
  json.Texts("ToAddresses", {mail.recipients, mail.n_recipients});
  json.EndObject();
  json.Number("raw_bytes", static_cast<int64_t>(mail.raw.size));
  json.EndObject();
}

void WriteAnswer(const Answer& answer, sdk::JsonBody& json) {
  json.BeginObject("answer");
  json.Number("status", answer.status);
  if (answer.status == 200) {
    json.Text("MessageId", answer.message_id);
  } else {
    json.Text("__type", answer.type);
    json.Text("message", answer.message);
  }
  json.EndObject();
}

void WriteEvents(std::span<const std::string_view> recipients, sdk::JsonBody& json) {
  json.BeginArray("events");
  for (const std::string_view recipient : recipients) {
    for (const Event& event : EventsFor(recipient)) {
      json.BeginObject();
      json.Text("eventType", event.type);
      json.Text("emailAddress", recipient);
      if (event.type == "Bounce") {
        json.Text("bounceType", "Permanent");
        json.Text("bounceSubType", event.sub_type);
      }
      json.Text("diagnosticCode", event.diagnostic);
      json.EndObject();
    }
  }
  json.EndArray();
}

}  // namespace

std::string RequestLine(const postbus_mail& mail, const Answer& answer, int64_t now_unix_ms) {
  sdk::JsonBody json;
  json.Number("at", now_unix_ms);
  json.Text("event_id", sdk::View(mail.event_id));
  json.Number("attempt", mail.attempt);
  WriteRequest(mail, json);
  WriteAnswer(answer, json);
  if (answer.status == 200) WriteEvents(Recipients(mail), json);
  return json.Take() + "\n";
}

SesStubTransport::SesStubTransport(sdk::Host host, const sdk::Options& options)
    : BlockingTransport(host, kThreads), directory_(options.Path("directory")), account_(SettingsOf(options)) {
  requests_fd_ = ::openat(directory_.fd(), "requests.jsonl", O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640);
  if (requests_fd_ < 0) {
    throw std::runtime_error("cannot open " + directory_.path() + "/requests.jsonl: " + Reason(errno));
  }
}

SesStubTransport::~SesStubTransport() { ::close(requests_fd_); }

sdk::Outcome SesStubTransport::Send(const postbus_mail& mail) {
  const std::vector<std::string_view> recipients = Recipients(mail);
  const int64_t now_unix_ms = UnixNowMs();
  const Answer answer = account_.SendEmail(
      {.sender = sdk::View(mail.sender), .recipients = recipients, .raw_bytes = mail.raw.size}, now_unix_ms);
  int error = answer.status == 200 ? directory_.WriteFile(answer.message_id + ".eml", sdk::View(mail.raw), false) : 0;
  if (error == 0) error = WriteAll(requests_fd_, RequestLine(mail, answer, now_unix_ms));
  if (error == 0) return VerdictOf(answer);
  return sdk::Outcome::ProviderFault("cannot write into the directory " + directory_.path() + ": " + Reason(error))
      .At(POSTBUS_PHASE_REQUEST);
}

}  // namespace postbus::ses_stub
