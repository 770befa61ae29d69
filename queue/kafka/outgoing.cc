#include "queue/kafka/outgoing.h"

#include <algorithm>

#include "event/clock.h"
#include "queue/utf8_cut.h"

namespace postbus::kafka {
namespace {

constexpr int64_t kGraceMs = 1'000;

std::string Place(const std::string& topic, int32_t partition, int64_t offset) {
  return topic + "/" + std::to_string(partition) + "/" + std::to_string(offset);
}

}  // namespace

Status ReadSource(const rd_kafka_message_t& message, Source& source) {
  source.topic = rd_kafka_topic_name(message.rkt);
  source.partition = message.partition;
  source.offset = message.offset;
  source.has_key = message.key != nullptr;
  source.key.assign(static_cast<const char*>(message.key), message.key_len);
  source.headers = {};
  source.others.clear();
  Status status;
  rd_kafka_headers_t* headers = nullptr;
  if (rd_kafka_message_headers(&message, &headers) == RD_KAFKA_RESP_ERR_NO_ERROR) {
    const char* name = nullptr;
    const void* value = nullptr;
    size_t size = 0;
    for (size_t i = 0; rd_kafka_header_get_all(headers, i, &name, &value, &size) == RD_KAFKA_RESP_ERR_NO_ERROR; ++i) {
      const std::string_view text(static_cast<const char*>(value), size);
      if (!IsEventHeader(name)) source.others.emplace_back(name, text);
      Status decoded = DecodeHeader(name, text, source.headers);
      if (!decoded.ok() && status.ok()) status = std::move(decoded);
    }
  }
  if (source.headers.origin.offset < 0) source.headers.origin = {source.topic, source.partition, source.offset};
  if (source.headers.accepted_at_unix_ms == 0) {
    rd_kafka_timestamp_type_t type = RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
    source.headers.accepted_at_unix_ms = std::max<int64_t>(0, rd_kafka_message_timestamp(&message, &type));
  }
  return status;
}

size_t DelayStepFor(int64_t remaining_ms) {
  size_t step = 0;
  while (step + 1 < kDelaySteps.size() && kDelaySteps[step + 1].ms <= remaining_ms + kGraceMs) ++step;
  return step;
}

Record EventRecord(const TopicNames& names, const NewEvent& event) {
  EventHeaders headers;
  headers.id = event.id;
  headers.accepted_at_unix_ms = event.accepted_at_unix_ms;
  headers.traceparent = event.traceparent;
  Record record;
  record.topic = names.events[static_cast<size_t>(event.priority)];
  record.key = event.id;
  record.value = event.value;
  EncodeHeaders(headers, record.headers);
  return record;
}

Record DeferredRecord(const TopicNames& names, const Source& source, const DeferredCopy& copy, int64_t now_unix_ms) {
  EventHeaders headers = source.headers;
  headers.format = EventHeaders::kFormat;
  headers.attempt = copy.attempt;
  headers.due_unix_ms = copy.due_unix_ms;
  headers.recipients = copy.recipients;
  headers.outcome_class = copy.outcome_class;
  Record record;
  record.topic = names.delays[DelayStepFor(copy.due_unix_ms - now_unix_ms)];
  record.key = headers.id;
  if (headers.id.empty()) record.key = source.has_key ? source.key : headers.origin.DerivedId();
  record.value = copy.value;
  EncodeHeaders(headers, record.headers);
  return record;
}

Record ForwardedRecord(const TopicNames& names, const Source& source, Priority to, std::string_view value) {
  EventHeaders headers = source.headers;
  headers.format = EventHeaders::kFormat;
  Record record;
  record.topic = names.events[static_cast<size_t>(to)];
  record.key = source.key;
  record.has_key = source.has_key;
  record.value = value;
  EncodeHeaders(headers, record.headers);
  record.headers.insert(record.headers.end(), source.others.begin(), source.others.end());
  return record;
}

Record DeadLetterRecord(const TopicNames& names, const std::string& group, const Source& source,
                        const DeadLetterCopy& copy) {
  EventHeaders headers = source.headers;
  headers.format = EventHeaders::kFormat;
  if (headers.id.empty()) headers.id = copy.id;
  headers.attempt = copy.attempt;
  headers.recipients = copy.recipients;
  headers.outcome_class = copy.outcome_class;
  Record record;
  record.topic = names.dead_letters;
  record.key = source.key;
  record.has_key = source.has_key;
  record.value = copy.value;
  EncodeHeaders(headers, record.headers);
  record.headers.emplace_back("__dlq.errors.topic", source.topic);
  record.headers.emplace_back("__dlq.errors.partition", std::to_string(source.partition));
  record.headers.emplace_back("__dlq.errors.offset", std::to_string(source.offset));
  record.headers.emplace_back("__dlq.errors.group", group);
  record.headers.emplace_back("__dlq.errors.delivery.count", std::to_string(copy.attempt));
  record.headers.emplace_back("__dlq.errors.message", CutUtf8(copy.message, EventHeaders::kMaxValueBytes));
  return record;
}

Burial Bury(const TopicNames& names, const std::string& group, const Source& source, std::string_view outcome_class,
            std::string_view message, std::string_view value) {
  const EventHeaders& headers = source.headers;
  StatusRecord status;
  status.id = headers.id.empty() ? headers.origin.DerivedId() : headers.id;
  status.change = Change::kDeadLettered;
  status.recipients = headers.recipients;
  status.at_unix_ms = UnixTimeMs();
  status.attempt = headers.attempt;
  status.replay = headers.replay;
  status.outcome = outcome_class;
  status.text = message;
  const DeadLetterCopy letter = {.recipients = headers.recipients,
                                 .attempt = headers.attempt,
                                 .outcome_class = outcome_class,
                                 .message = message,
                                 .id = status.id,
                                 .value = value};
  return {DeadLetterRecord(names, group, source, letter), StatusChangeRecord(names, status)};
}

Record LetterFor(const TopicNames& names, const std::string& group, const Source& source, Record copy,
                 std::string_view outcome_class, std::string_view message) {
  EventHeaders headers;
  for (const auto& [name, value] : copy.headers) {
    static_cast<void>(DecodeHeader(name, value, headers));  // they were decoded before
  }
  return DeadLetterRecord(names, group, source,
                          {.recipients = headers.recipients,
                           .attempt = headers.attempt,
                           .outcome_class = outcome_class,
                           .message = message,
                           .id = headers.id,
                           .value = copy.value});
}

std::optional<Copy> SmallerThan(const TopicNames& names, const std::string& group, const Source& source, CopyKind kind,
                                Record too_large) {
  if (kind == CopyKind::kDeadLetter) {
    too_large.value.clear();
    too_large.headers.emplace_back("postbus-pointer", Place(source.topic, source.partition, source.offset));
    return Copy{std::move(too_large), CopyKind::kPointer};
  }
  if (!IsEvent(kind)) return std::nullopt;
  const std::string message = "too large for the topic " + too_large.topic;
  return Copy{LetterFor(names, group, source, std::move(too_large), "too_large", message), CopyKind::kDeadLetter};
}

Record CancellationRecord(const TopicNames& names, std::string_view id, int64_t at_unix_ms) {
  Record record;
  record.topic = names.cancellations;
  record.key = id;
  record.value = R"({"v":1,"id":)";
  AppendJsonString(id, record.value);
  record.value += ",\"at\":" + std::to_string(at_unix_ms) + "}";
  return record;
}

Record StatusChangeRecord(const TopicNames& names, const StatusRecord& status) {
  Record record;
  record.topic = names.status;
  record.key = status.id;
  EncodeStatus(status, record.value);
  return record;
}

}  // namespace postbus::kafka
