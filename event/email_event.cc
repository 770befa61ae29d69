#include "event/email_event.h"

#include <sys/random.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstdlib>

#include "event/text.h"

namespace postbus {
namespace {

constexpr char kHexDigits[] = "0123456789abcdef";

// One replacement in a JSON text.
struct Edit {
  ByteRange range;
  std::string_view text;
};

// Appends `json` from `begin` to `end` with the edits applied.
// REQUIRES: they do not overlap and lie between `begin` and `end`.
template <size_t kCount>
void AppendEdited(std::string_view json, size_t begin, size_t end, std::array<Edit, kCount>& edits, size_t count,
                  std::string& out) {
  std::sort(edits.begin(), edits.begin() + static_cast<std::ptrdiff_t>(count),
            [](const Edit& a, const Edit& b) { return a.range.offset < b.range.offset; });
  for (size_t i = 0; i < count; ++i) {
    out += json.substr(begin, edits[i].range.offset - begin);
    out += edits[i].text;
    begin = edits[i].range.offset + edits[i].range.size;
  }
  out += json.substr(begin, end - begin);
}

}  // namespace

std::string_view PriorityName(Priority priority) {
  switch (priority) {
    case Priority::kHigh:
      return "high";
    case Priority::kNormal:
      return "normal";
    case Priority::kLow:
      return "low";
  }
  return "normal";
}

const Mailbox& EmailEvent::recipient(size_t index) const {
  if (index < to.size()) return to[index];
  index -= to.size();
  return index < cc.size() ? cc[index] : bcc[index - cc.size()];
}

void EmailEvent::Clear() {
  for (std::string* field : {&type, &id, &from.name, &from.address, &subject, &template_name, &html, &text}) {
    field->clear();
  }
  for (std::vector<Mailbox>* list : {&to, &cc, &bcc, &reply_to}) list->clear();
  headers.clear();
  tags.clear();
  metadata.clear();
  attachments.clear();
  priority = Priority::kNormal;
  timestamp_unix_ms = 0;
  scheduled_at_unix_ms = 0;
  expires_at_unix_ms = 0;
  max_retries = kAbsent;
  for (ByteRange* range : {&data, &message, &retry_count, &status, &id_value, &from_value, &timestamp_value}) {
    *range = {};
  }
}

std::string_view AttachmentBase64(std::string_view json, const Attachment& attachment, std::string& scratch) {
  std::string_view text = json.substr(attachment.content.offset, attachment.content.size);
  size_t escape = text.find('\\');
  if (escape == std::string_view::npos) return text;
  scratch.clear();
  while (escape != std::string_view::npos) {  // \/ as PHP writes it, or \u00XX
    scratch += text.substr(0, escape);
    text.remove_prefix(escape + 1);
    size_t size = 1;
    char c = text.front();
    if (c == 'u') {
      size = 5;
      unsigned code = 0;
      std::from_chars(text.data() + 1, text.data() + size, code, 16);
      c = static_cast<char>(code);
    }
    scratch += c;
    text.remove_prefix(size);
    escape = text.find('\\');
  }
  scratch += text;
  return scratch;
}

std::optional<Violation> ScheduleViolation(const EmailEvent& event, int64_t now_unix_ms) {
  if (event.scheduled_at_unix_ms - now_unix_ms <= EventLimits::kMaxScheduleAheadMs) return std::nullopt;
  return Violation{"/scheduled_at", "scheduled_at is more than 366 days ahead; nothing is kept that long"};
}

void EncodeAccepted(std::string_view json, const EmailEvent& event, const Acceptance& acceptance, std::string& out) {
  std::string id;
  AppendJsonString(acceptance.id, id);
  std::string timestamp;
  AppendJsonString(FormatRfc3339(acceptance.timestamp_unix_ms), timestamp);
  std::string from;

  struct Field {
    std::string_view name;
    ByteRange range;
    std::string_view value;
  };
  std::array<Field, 5> fields = {{{"id", event.id_value, id},
                                  {"timestamp", event.timestamp_value, timestamp},
                                  {"retry_count", event.retry_count, "0"},
                                  {"status", event.status, "\"pending\""}}};
  size_t field_count = 4;
  if (event.from.address.empty() && !acceptance.default_from.empty()) {
    AppendJsonString(acceptance.default_from, from);
    fields[field_count++] = {"from", event.from_value, from};
  }

  // What is absent goes behind the opening brace; a valid message has members, so the comma is always right.
  std::string added = "{";
  std::array<Edit, 6> edits;
  size_t edit_count = 0;
  for (size_t i = 0; i < field_count; ++i) {
    const Field& field = fields[i];
    if (field.range.size > 0) {
      edits[edit_count++] = {field.range, field.value};
    } else {
      added.append("\"").append(field.name).append("\":").append(field.value).append(",");
    }
  }
  edits[edit_count++] = {{event.message.offset, 1}, added};

  const bool bare = json.find('{') == event.message.offset;
  if (bare) {
    out += R"({"type":"","message":)";
    AppendEdited(json, event.message.offset, event.message.offset + event.message.size, edits, edit_count, out);
    out += '}';
  } else {
    AppendEdited(json, 0, json.size(), edits, edit_count, out);
  }
}

void PatchCopy(std::string_view json, const EmailEvent& event, int retry_count, std::string_view status,
               std::string& out) {
  std::array<char, 12> digits;
  const char* digits_end = std::to_chars(digits.data(), digits.data() + digits.size(), retry_count).ptr;
  std::string status_value;
  AppendJsonString(status, status_value);

  // A producer may have written anything there; only what has the seed's type is ours to change.
  std::array<Edit, 2> edits;
  size_t edit_count = 0;
  if (event.retry_count.size > 0) {
    const char first = json[event.retry_count.offset];
    if (first == '-' || (first >= '0' && first <= '9')) {
      edits[edit_count++] = {event.retry_count, {digits.data(), static_cast<size_t>(digits_end - digits.data())}};
    }
  }
  if (event.status.size > 0 && json[event.status.offset] == '"') edits[edit_count++] = {event.status, status_value};
  AppendEdited(json, 0, json.size(), edits, edit_count, out);
}

bool IsValidId(std::string_view id) {
  if (id.empty() || id.size() > EventLimits::kMaxIdBytes) return false;
  return std::all_of(id.begin(), id.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' ||
           c == ':' || c == '-';
  });
}

std::string NewEventId() {
  std::array<unsigned char, 16> bytes;
  // Up to 256 bytes come whole or not at all. Other failures mean a kernel without the call: no id could be trusted.
  while (getrandom(bytes.data(), bytes.size(), 0) != static_cast<ssize_t>(bytes.size())) {
    if (errno != EINTR) std::abort();
  }
  const auto now =
      std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::system_clock::now().time_since_epoch());
  auto unix_ms = static_cast<uint64_t>(now.count());
  for (size_t i = 6; i-- > 0; unix_ms >>= 8) bytes[i] = static_cast<unsigned char>(unix_ms & 0xFF);
  return FormatUuid(bytes, 7);
}

std::string FormatUuid(std::array<unsigned char, 16> bytes, int version) {
  bytes[6] = static_cast<unsigned char>((bytes[6] & 0x0F) | (version << 4));
  bytes[8] = static_cast<unsigned char>((bytes[8] & 0x3F) | 0x80);  // the variant
  std::string id;
  id.reserve(36);
  for (size_t i = 0; i < bytes.size(); ++i) {
    if (i == 4 || i == 6 || i == 8 || i == 10) id += '-';
    id += kHexDigits[bytes[i] >> 4];
    id += kHexDigits[bytes[i] & 0x0F];
  }
  return id;
}

void AppendJsonString(std::string_view text, std::string& out) {
  out += '"';
  for (size_t at = 0; at < text.size();) {
    const char c = text[at];
    if (c >= 0x20 && c != '"' && c != '\\') {
      out += c;
      ++at;
      continue;
    }
    if (static_cast<unsigned char>(c) >= 0x80) {
      const size_t size = Utf8SequenceSize(text.substr(at));
      out += size == 0 ? std::string_view("\uFFFD") : text.substr(at, size);
      at += size == 0 ? 1 : size;
      continue;
    }
    ++at;
    switch (c) {
      case '"':
      case '\\':
        out += '\\';
        out += c;
        break;
      case '\n':
        out += "\\n";
        break;
      case '\r':
        out += "\\r";
        break;
      case '\t':
        out += "\\t";
        break;
      default:
        out += "\\u00";
        out += kHexDigits[c >> 4];
        out += kHexDigits[c & 0x0F];
    }
  }
  out += '"';
}

}  // namespace postbus
