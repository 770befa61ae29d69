#include "postbus/sender.h"

#include <algorithm>
#include <memory>
#include <vector>

#include "event/clock.h"
#include "event/email_event.h"

namespace postbus {
namespace {

Status Refused(const std::vector<Violation>& violations) {
  std::string text = "the mail is refused";
  for (const Violation& violation : violations) {
    text += &violation == violations.data() ? ": " : "; ";
    if (!violation.pointer.empty()) text += violation.pointer + ": ";
    text += violation.detail;
  }
  return Status::Invalid(std::move(text));
}

std::string MessageJson(std::string_view from, std::string_view to, std::string_view subject,
                        std::string_view template_name, const TemplateData& data, std::string_view priority) {
  std::string json = "{";
  const auto add = [&json](std::string_view name, std::string_view value) {
    (json += '"').append(name) += "\":";
    AppendJsonString(value, json);
    json += ',';
  };
  add("from", from);
  add("to", to);
  add("subject", subject);
  add("template", template_name);
  add("priority", priority);
  return json + "\"data\":" + data.json() + "}";
}

}  // namespace

TemplateData::TemplateData(std::initializer_list<std::pair<std::string_view, std::string_view>> fields) {
  json_ = "{";
  for (const auto& [name, text] : fields) {
    if (json_.size() > 1) json_ += ',';
    AppendJsonString(name, json_);
    json_ += ':';
    AppendJsonString(text, json_);
  }
  json_ += '}';
}

TemplateData TemplateData::FromJson(std::string_view object) {
  constexpr std::string_view kSpaces = " \t\r\n";
  const size_t begin = std::min(object.find_first_not_of(kSpaces), object.size());
  const size_t end = object.find_last_not_of(kSpaces) + 1;
  TemplateData data;
  data.json_ = begin < end ? object.substr(begin, end - begin) : std::string_view();
  return data;
}

Sender::~Sender() = default;

Result<std::string> Sender::SendEmail(std::string_view from, std::string_view to, std::string_view subject,
                                      std::string_view template_name, const TemplateData& data,
                                      std::string_view priority, Done done) {
  return TakeChecked(Check(MessageJson(from, to, subject, template_name, data, priority), &data), std::move(done));
}

Result<std::string> Sender::SendMessage(std::string_view json, Done done) {
  return TakeChecked(Check(json, nullptr), std::move(done));
}

std::future<Result<std::string>> Sender::SendEmail(std::string_view from, std::string_view to, std::string_view subject,
                                                   std::string_view template_name, const TemplateData& data,
                                                   std::string_view priority) {
  return TakeWithFuture(Check(MessageJson(from, to, subject, template_name, data, priority), &data));
}

std::future<Result<std::string>> Sender::SendMessage(std::string_view json) {
  return TakeWithFuture(Check(json, nullptr));
}

Result<Sender::Event> Sender::Check(std::string_view json, const TemplateData* data) {
  EventDecoder decoder;
  EmailEvent event;
  const bool valid = EventDecoder::LooksLikeMessage(json) ? decoder.DecodeMessage(json, Strictness::kApi, event)
                                                          : decoder.Decode(json, Strictness::kApi, event);
  if (!valid) return Refused(decoder.violations());
  // Whatever was given as data must not have become other fields of the message.
  if (data != nullptr && event.data.size != data->json().size()) {
    return Refused({{.pointer = "/data", .detail = "is not one JSON object"}});
  }
  const int64_t now = UnixTimeMs();
  if (const auto violation = ScheduleViolation(event, now)) return Refused({*violation});
  Event checked{.id = event.id.empty() ? NewEventId() : event.id,
                .priority = std::string(PriorityName(event.priority)),
                .accepted_at_unix_ms = now,
                .json = {}};
  EncodeAccepted(json, event,
                 {.id = checked.id,
                  .timestamp_unix_ms = event.timestamp_unix_ms != 0 ? event.timestamp_unix_ms : now,
                  .default_from = {}},
                 checked.json);
  return checked;
}

Result<std::string> Sender::TakeChecked(Result<Event> event, Done done) {
  if (!event.ok()) return event.TakeStatus();
  if (Status taken = Take(*event, std::move(done)); !taken.ok()) return taken;
  return std::move(event->id);
}

std::future<Result<std::string>> Sender::TakeWithFuture(Result<Event> event) {
  const auto promise = std::make_shared<std::promise<Result<std::string>>>();
  auto future = promise->get_future();
  if (!event.ok()) {
    promise->set_value(event.TakeStatus());
    return future;
  }
  Status taken = Take(*event, [promise, id = event->id](const Status& status) {
    promise->set_value(status.ok() ? Result<std::string>(id) : Status(status.kind(), std::string(status.message())));
  });
  if (!taken.ok()) promise->set_value(std::move(taken));
  return future;
}

}  // namespace postbus
