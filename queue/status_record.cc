#include "queue/status_record.h"

#include <rapidjson/document.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <limits>

#include "event/email_event.h"
#include "queue/utf8_cut.h"

namespace postbus {
namespace {

constexpr size_t kMaxTextBytes = 512;
// Every host has heard of a cancellation by then, and clocks differ.
constexpr int64_t kKnownWithinMs = 30'000;

struct ChangeNames {
  Change change;
  std::string_view name;    // our word
  std::string_view status;  // the event format's word for the same
};
constexpr std::array<ChangeNames, 7> kChanges{{{Change::kQueued, "queued", "pending"},
                                               {Change::kScheduled, "scheduled", "pending"},
                                               {Change::kDeferred, "deferred", "pending"},
                                               {Change::kSent, "sent", "sent"},
                                               {Change::kDeadLettered, "dead_lettered", "failed"},
                                               {Change::kExpired, "expired", "failed"},
                                               {Change::kCancelled, "cancelled", "failed"}}};

const ChangeNames& NamesOf(Change change) { return kChanges[static_cast<size_t>(change)]; }

void AppendText(std::string_view key, std::string_view value, std::string& out) {
  if (value.empty()) return;
  out.append(",\"").append(key).append("\":");
  AppendJsonString(CutUtf8(value, kMaxTextBytes), out);
}

void AppendNumber(std::string_view key, int64_t value, std::string& out) {
  if (value == 0) return;
  out.append(",\"").append(key).append("\":").append(std::to_string(value));
}

// Sixteen digits in quotes and a comma: a JSON number would lose some of the bits in many a reader.
void AppendHash(uint64_t hash, std::string& out) {
  out += '"';
  for (int shift = 60; shift >= 0; shift -= 4) out += "0123456789abcdef"[(hash >> shift) & 0xF];
  out += "\",";
}

// Reads members of one JSON object; the first one of a wrong type is remembered.
class Reader {
 public:
  explicit Reader(const rapidjson::Value& object) : object_(object) {}

  void Text(const char* key, std::string& out) {
    if (const rapidjson::Value* value = Find(key)) {
      if (!value->IsString()) return Fail(key);
      out.assign(value->GetString(), value->GetStringLength());
    }
  }
  void Number(const char* key, int64_t& out) {
    if (const rapidjson::Value* value = Find(key)) {
      if (!value->IsInt64()) return Fail(key);
      out = value->GetInt64();
    }
  }
  void Number(const char* key, int& out) {
    if (const rapidjson::Value* value = Find(key)) {
      if (!value->IsInt()) return Fail(key);
      out = value->GetInt();
    }
  }
  void Recipients(const char* key, RecipientSet& out) {
    const rapidjson::Value* value = Find(key);
    if (value == nullptr) return;
    if (!value->IsArray()) return Fail(key);
    for (const rapidjson::Value& index : value->GetArray()) {
      if (!index.IsUint() || index.GetUint() > 63) return Fail(key);
      out.insert(index.GetUint());
    }
  }
  void Hashes(const char* key, std::vector<uint64_t>& out) {
    const rapidjson::Value* value = Find(key);
    if (value == nullptr) return;
    if (!value->IsArray()) return Fail(key);
    for (const rapidjson::Value& hash : value->GetArray()) {
      if (!hash.IsString() || hash.GetStringLength() != 16) return Fail(key);
      const char* const end = hash.GetString() + 16;
      const auto [parsed, error] = std::from_chars(hash.GetString(), end, out.emplace_back(), 16);
      if (error != std::errc() || parsed != end) return Fail(key);
    }
  }
  void Fail(const char* key) {
    if (problem_ == nullptr) problem_ = key;
  }
  const char* problem() const { return problem_; }

 private:
  const rapidjson::Value* Find(const char* key) const {
    const auto member = object_.FindMember(key);
    return member == object_.MemberEnd() ? nullptr : &member->value;
  }

  const rapidjson::Value& object_;
  const char* problem_ = nullptr;
};

// A record without recipients is about all of them.
RecipientSet WhomItIsAbout(const StatusRecord& record) {
  return record.recipients.empty() ? RecipientSet::All(EventLimits::kMaxRecipients) : record.recipients;
}

// The last change of each recipient that is known; where none is, the last of all.
std::vector<Change> LastChanges(std::span<const StatusRecord> history) {
  RecipientSet known;
  for (const StatusRecord& record : history) known.bits |= record.recipients.bits;
  if (known.empty()) return {history.back().change};
  std::vector<Change> changes;
  for (size_t i = 0; i < EventLimits::kMaxRecipients; ++i) {
    if (!known.contains(i)) continue;
    const auto last = std::find_if(history.rbegin(), history.rend(),
                                   [i](const StatusRecord& record) { return WhomItIsAbout(record).contains(i); });
    changes.push_back(last->change);
  }
  return changes;
}

}  // namespace

std::string_view ChangeName(Change change) { return NamesOf(change).name; }
std::string_view ChangeStatus(Change change) { return NamesOf(change).status; }
bool IsEndWithoutMail(Change change) { return ChangeStatus(change) == "failed"; }

void EncodeStatus(const StatusRecord& record, std::string& out) {
  const ChangeNames& names = NamesOf(record.change);
  out.append("{\"v\":").append(std::to_string(StatusRecord::kFormat));
  AppendText("id", record.id, out);
  AppendText("event", names.name, out);
  AppendText("status", names.status, out);
  if (!record.recipients.empty()) {
    out += ",\"rcpt\":[";
    for (size_t i = 0; i < 64; ++i) {
      if (record.recipients.contains(i)) out.append(std::to_string(i)).append(1, ',');
    }
    out.back() = ']';
  }
  if (!record.recipient_hashes.empty()) {
    out += ",\"to\":[";
    for (const uint64_t hash : record.recipient_hashes) AppendHash(hash, out);
    out.back() = ']';
  }
  AppendNumber("at", record.at_unix_ms, out);
  AppendNumber("attempt", record.attempt, out);
  AppendNumber("replay", record.replay, out);
  AppendNumber("due", record.due_unix_ms, out);
  AppendText("transport", record.transport, out);
  AppendText("outcome", record.outcome, out);
  AppendNumber("code", record.code, out);
  AppendText("enhanced", record.enhanced, out);
  AppendText("text", record.text, out);
  AppendText("provider_id", record.provider_id, out);
  out += '}';
}

Result<StatusRecord> DecodeStatus(std::string_view json) {
  rapidjson::Document document;
  document.Parse<rapidjson::kParseIterativeFlag | rapidjson::kParseValidateEncodingFlag>(json.data(), json.size());
  if (document.HasParseError() || !document.IsObject()) return Status::Invalid("a status record is not a JSON object");

  Reader reader(document);
  StatusRecord record;
  int format = 0;
  std::string event;
  reader.Number("v", format);
  reader.Text("id", record.id);
  reader.Text("event", event);
  reader.Recipients("rcpt", record.recipients);
  reader.Hashes("to", record.recipient_hashes);
  reader.Number("at", record.at_unix_ms);
  reader.Number("attempt", record.attempt);
  reader.Number("replay", record.replay);
  reader.Number("due", record.due_unix_ms);
  reader.Text("transport", record.transport);
  reader.Text("outcome", record.outcome);
  reader.Number("code", record.code);
  reader.Text("enhanced", record.enhanced);
  reader.Text("text", record.text);
  reader.Text("provider_id", record.provider_id);

  bool known = false;
  for (const ChangeNames& names : kChanges) {
    if (names.name != event) continue;
    record.change = names.change;
    known = true;
  }
  if (format != StatusRecord::kFormat) reader.Fail("v");
  if (record.id.empty()) reader.Fail("id");
  if (!known) reader.Fail("event");
  if (reader.problem() != nullptr) {
    return Status::Invalid("a status record's field \"" + std::string(reader.problem()) +
                           "\" is missing or not understood");
  }
  return record;
}

std::string_view StatusOfAll(std::span<const StatusRecord> history) {
  bool failed = false;
  for (const Change change : LastChanges(history)) {
    const std::string_view status = ChangeStatus(change);
    if (status == "pending") return status;
    failed = failed || status == "failed";
  }
  return failed ? "failed" : "sent";
}

void AddForeseenCancellation(int64_t requested_unix_ms, std::vector<StatusRecord>& history) {
  RecipientSet known;
  RecipientSet waiting;
  for (const StatusRecord& record : history) {
    known.bits |= record.recipients.bits;
    const bool waits = record.change == Change::kScheduled || record.change == Change::kDeferred;
    waiting.bits &= ~WhomItIsAbout(record).bits;
    if (waits && record.due_unix_ms >= requested_unix_ms + kKnownWithinMs) waiting.bits |= WhomItIsAbout(record).bits;
  }
  if (!known.empty()) waiting.bits &= known.bits;
  if (waiting.empty()) return;
  StatusRecord& foreseen = history.emplace_back();
  foreseen.id = history.front().id;
  foreseen.change = Change::kCancelled;
  foreseen.recipients = waiting;
  foreseen.at_unix_ms = requested_unix_ms;
}

Status MayBeCancelled(std::span<const StatusRecord> history) {
  const std::vector<Change> changes = LastChanges(history);
  const auto waits = [](Change change) { return ChangeStatus(change) == "pending" || change == Change::kCancelled; };
  if (std::any_of(changes.begin(), changes.end(), waits)) return {};
  return Status::Conflict("nothing of this mail waits any more; the last that happened to it: " +
                          std::string(ChangeName(history.back().change)));
}

}  // namespace postbus
