#include "queue/event_headers.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <limits>
#include <optional>

#include "event/email_event.h"
#include "queue/utf8_cut.h"

namespace postbus {
namespace {

constexpr std::string_view kFormatName = "postbus-fmt";
constexpr std::string_view kIdName = "postbus-id";
constexpr std::string_view kAttemptName = "postbus-attempt";
constexpr std::string_view kDueName = "postbus-due";
constexpr std::string_view kAcceptedAtName = "postbus-accepted-at";
constexpr std::string_view kRecipientsName = "postbus-rcpt";
constexpr std::string_view kOriginName = "postbus-origin";
constexpr std::string_view kClassName = "postbus-class";
constexpr std::string_view kReplayName = "postbus-replay";
constexpr std::string_view kTraceparentName = "traceparent";

constexpr size_t kMaxRecipientIndex = 63;  // what a RecipientSet can hold

// A whole decimal number without sign, space or leading '+'.
template <typename T>
std::optional<T> ParseNumber(std::string_view text) {
  T number{};
  const char* const end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, number);
  if (error != std::errc() || stop != end || text.empty() || text.front() == '-') return std::nullopt;
  return number;
}

template <typename T>
Status DecodeNumber(std::string_view name, std::string_view value, T& out) {
  const std::optional<T> number = ParseNumber<T>(value);
  if (!number) return Status::Invalid("header " + std::string(name) + " is not a number in range");
  out = *number;
  return {};
}

Status DecodeRecipients(std::string_view value, RecipientSet& out) {
  RecipientSet recipients;
  while (!value.empty()) {
    const size_t comma = value.find(',');
    const std::optional<size_t> index = ParseNumber<size_t>(value.substr(0, comma));
    if (!index || *index > kMaxRecipientIndex || comma == value.size() - 1) {
      return Status::Invalid("header " + std::string(kRecipientsName) + " is not a list of recipient indexes");
    }
    recipients.insert(*index);
    value = comma == std::string_view::npos ? std::string_view() : value.substr(comma + 1);
  }
  out = recipients;
  return {};
}

bool IsTopicName(std::string_view name) {
  constexpr size_t kMaxTopicBytes = 249;
  return !name.empty() && name.size() <= kMaxTopicBytes && std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' ||
           c == '-';
  });
}

Status DecodeOrigin(std::string_view value, Origin& out) {
  const size_t offset_at = value.rfind('/');
  const size_t partition_at =
      offset_at == std::string_view::npos || offset_at == 0 ? std::string_view::npos : value.rfind('/', offset_at - 1);
  if (partition_at != std::string_view::npos) {
    const std::string_view topic = value.substr(0, partition_at);
    const auto partition = ParseNumber<int32_t>(value.substr(partition_at + 1, offset_at - partition_at - 1));
    const auto offset = ParseNumber<int64_t>(value.substr(offset_at + 1));
    if (IsTopicName(topic) && partition && offset) {
      out = {std::string(topic), *partition, *offset};
      return {};
    }
  }
  return Status::Invalid("header " + std::string(kOriginName) + " is not topic/partition/offset");
}

bool IsPrintableAscii(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return c >= 0x20 && c < 0x7F; });
}

// Calls `field(name, value)` for each header that is present, in the order of the format.
template <typename Field>
void ForEachHeader(const EventHeaders& headers, Field&& field) {
  const auto text = [&](std::string_view name, std::string_view value) {
    if (!value.empty()) field(name, CutUtf8(value, EventHeaders::kMaxValueBytes));
  };
  const auto number = [&](std::string_view name, int64_t value) {
    if (value == 0) return;
    std::array<char, 24> digits{};
    const auto result = std::to_chars(digits.data(), digits.data() + digits.size(), value);
    field(name, std::string_view(digits.data(), static_cast<size_t>(result.ptr - digits.data())));
  };
  number(kFormatName, headers.format);
  text(kIdName, headers.id);
  number(kAttemptName, headers.attempt);
  number(kDueName, headers.due_unix_ms);
  number(kAcceptedAtName, headers.accepted_at_unix_ms);
  if (!headers.recipients.empty()) {
    std::string indexes;
    for (size_t i = 0; i <= kMaxRecipientIndex; ++i) {
      if (!headers.recipients.contains(i)) continue;
      if (!indexes.empty()) indexes += ',';
      indexes += std::to_string(i);
    }
    field(kRecipientsName, std::string_view(indexes));
  }
  if (headers.origin.offset >= 0) {
    const Origin& origin = headers.origin;
    field(kOriginName, std::string_view(origin.topic + '/' + std::to_string(origin.partition) + '/' +
                                        std::to_string(origin.offset)));
  }
  text(kClassName, headers.outcome_class);
  number(kReplayName, headers.replay);
  text(kTraceparentName, headers.traceparent);
}

}  // namespace

std::string Origin::DerivedId() const {
  // The end of a long topic name tells `-high` from `-low`; an id has at most 128 bytes.
  const std::string place = '.' + std::to_string(partition) + '.' + std::to_string(offset);
  const size_t keep = std::min(topic.size(), EventLimits::kMaxIdBytes - place.size());
  return topic.substr(topic.size() - keep) + place;
}

void EncodeHeaders(const EventHeaders& headers, HeaderList& out) {
  ForEachHeader(headers, [&](std::string_view name, std::string_view value) { out.emplace_back(name, value); });
}

bool IsEventHeader(std::string_view name) { return name.starts_with("postbus-") || name == kTraceparentName; }

Status DecodeHeader(std::string_view name, std::string_view value, EventHeaders& headers) {
  if (name == kFormatName) {
    int format = 0;
    if (Status status = DecodeNumber(name, value, format); !status.ok()) return status;
    if (format < 1) return Status::Invalid("header " + std::string(kFormatName) + " is below 1");
    headers.format = format;
    return {};
  }
  // What the others mean in a format we do not know is not ours to say; postbus-fmt comes first.
  if (headers.format > EventHeaders::kFormat) return {};
  if (name == kIdName) {
    if (!IsValidId(value)) {
      return Status::Invalid("header " + std::string(kIdName) + " is not 1-128 characters of A-Z a-z 0-9 . _ : -");
    }
    headers.id = value;
    return {};
  }
  if (name == kAttemptName) return DecodeNumber(name, value, headers.attempt);
  if (name == kDueName) return DecodeNumber(name, value, headers.due_unix_ms);
  if (name == kAcceptedAtName) return DecodeNumber(name, value, headers.accepted_at_unix_ms);
  if (name == kRecipientsName) return DecodeRecipients(value, headers.recipients);
  if (name == kOriginName) return DecodeOrigin(value, headers.origin);
  if (name == kReplayName) return DecodeNumber(name, value, headers.replay);
  if (name == kClassName) {
    if (!IsPrintableAscii(value)) return Status::Invalid("header " + std::string(kClassName) + " is not ASCII text");
    headers.outcome_class = CutUtf8(value, EventHeaders::kMaxValueBytes);
    return {};
  }
  // A broken trace is no reason to lose a mail (W3C Trace Context: ignore it).
  if (name == kTraceparentName && value.size() <= EventHeaders::kMaxValueBytes && IsPrintableAscii(value)) {
    headers.traceparent = value;
  }
  return {};
}

std::string HeadersToText(const EventHeaders& headers) {
  std::string text;
  ForEachHeader(headers, [&](std::string_view name, std::string_view value) {
    text.append(name).append(1, ':');
    for (const char c : value) text += c == '\n' || c == '\r' ? ' ' : c;
    text += '\n';
  });
  return text;
}

Result<EventHeaders> HeadersFromText(std::string_view text) {
  EventHeaders headers;
  while (!text.empty()) {
    const size_t end = text.find('\n');
    const std::string_view line = text.substr(0, end);
    const size_t colon = line.find(':');
    if (end == std::string_view::npos || colon == std::string_view::npos) {
      return Status::Invalid("event headers are not lines of name:value");
    }
    if (Status status = DecodeHeader(line.substr(0, colon), line.substr(colon + 1), headers); !status.ok()) {
      return status;
    }
    text.remove_prefix(end + 1);
  }
  return headers;
}

}  // namespace postbus
