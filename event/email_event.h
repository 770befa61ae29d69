// event/email_event.h - the event everything is about, its JSON form and its rules. The only place that knows field
// names (with email_event.schema.json, held equal by a test).
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "event/address.h"
#include "event/status.h"

namespace postbus {

enum class Priority : uint8_t { kHigh = 0, kNormal = 1, kLow = 2 };
inline constexpr int kPriorities = 3;
std::string_view PriorityName(Priority priority);  // "high", "normal", "low"

// Limits of an event; `max_bytes` is configurable (limits.max_event), the others are part of the format.
struct EventLimits {
  size_t max_bytes = 900 * 1024;
  // More than EncodeAccepted() ever adds. kApi keeps it free, so that what was accepted also fits when it is published.
  static constexpr size_t kAcceptanceBytes = 4096;
  static constexpr int kMaxDepth = 32;              // of the whole event; a bare message counts as one level down
  static constexpr size_t kMaxRecipients = 50;      // of to, cc and bcc together; reply_to alone
  static constexpr size_t kMaxIdBytes = 128;        // [A-Za-z0-9._:-]
  static constexpr size_t kMaxSubjectBytes = 998;   // of UTF-8
  static constexpr size_t kMaxTemplateBytes = 128;  // [A-Za-z0-9][A-Za-z0-9._-]*, no ".."
  static constexpr size_t kMaxTypeBytes = 256;
  static constexpr size_t kMaxHeaders = 50;
  static constexpr size_t kMaxHeaderNameBytes = 76;
  static constexpr size_t kMaxHeaderBytes = 998;  // name, colon, blank and value: one line of RFC 5322
  static constexpr size_t kMaxTags = 10;
  static constexpr size_t kMaxTagBytes = 128;
  static constexpr size_t kMaxMetadata = 50;
  static constexpr size_t kMaxMetadataNameBytes = 64;
  static constexpr size_t kMaxMetadataBytes = 512;
  static constexpr size_t kMaxAttachments = 50;
  static constexpr size_t kMaxFilenameBytes = 255;
  static constexpr size_t kMaxContentTypeBytes = 255;
  static constexpr size_t kMaxContentIdBytes = 128;  // [A-Za-z0-9._+=$@-]
  // How far ahead scheduled_at may be. Cancellations are kept for 400 d, so this leaves more than the default
  // retry.max_age for what comes after the first attempt.
  static constexpr int64_t kMaxScheduleAheadMs = int64_t{366} * 86'400'000;
};

// Where a value stands in the JSON text: [offset, offset + size). size 0 = the field is absent.
struct ByteRange {
  size_t offset = 0;
  size_t size = 0;
};

// A header of the mail, or an entry of the metadata.
struct NamedText {
  std::string name;
  std::string value;
  friend bool operator==(const NamedText&, const NamedText&) = default;
};

// A file of the mail. What it holds stays in the JSON text: see AttachmentBase64().
struct Attachment {
  std::string filename;
  std::string content_type;  // RFC 2045 type/subtype with parameters; where absent, what the filename's ending says
  std::string content_id;    // not empty: inline, html refers to it as cid:…
  ByteRange content;         // between the quotes
};

// One event, decoded. Strings keep their capacity from event to event: decode into the same object again and again.
struct EmailEvent {
  std::string type;
  std::string id;           // empty = absent: the queue derives it
  Mailbox from;             // address empty = absent: defaults.from
  std::vector<Mailbox> to;  // one mail visible to all
  std::vector<Mailbox> cc;
  std::vector<Mailbox> bcc;  // recipients that no header names
  std::vector<Mailbox> reply_to;
  std::string subject;        // empty = absent: the template's
  std::string template_name;  // empty: html and text are the mail, and subject is given
  std::string html;
  std::string text;
  std::vector<NamedText> headers;  // none that postbus writes; names differ in more than case
  std::vector<std::string> tags;
  std::vector<NamedText> metadata;
  std::vector<Attachment> attachments;
  Priority priority = Priority::kNormal;
  int64_t timestamp_unix_ms = 0;     // 0 = absent: when it was accepted
  int64_t scheduled_at_unix_ms = 0;  // not sent before; 0 = absent: at once, as with a time in the past
  int64_t expires_at_unix_ms = 0;    // not sent from then on; 0 = absent: never expires; else later than scheduled_at
  int max_retries = kAbsent;         // kAbsent: retry.max_retries; kNever: never retry
  ByteRange data;                    // the JSON object for the template; absent = {}
  ByteRange message;                 // the message object, braces included
  ByteRange retry_count;             // for patching copies; the value is ignored on reading
  ByteRange status;                  // with its quotes; likewise (whatever JSON value a producer wrote there)
  ByteRange id_value;                // where these stand, for EncodeAccepted()
  ByteRange from_value;
  ByteRange timestamp_value;

  static constexpr int kAbsent = -2;
  static constexpr int kNever = -1;

  // The recipients by index, as copies and status records count them: to, then cc, then bcc. 1 to 50.
  size_t recipient_count() const { return to.size() + cc.size() + bcc.size(); }
  const Mailbox& recipient(size_t index) const;  // REQUIRES: index < recipient_count()

  void Clear();  // to the state of a new object, capacity kept
};

// What an attachment holds, in base64 (RFC 4648 section 4, padded, no line breaks): a view into `json`, the text it was
// decoded from, or into `scratch` where JSON escapes are in it.
std::string_view AttachmentBase64(std::string_view json, const Attachment& attachment, std::string& scratch);

// One thing wrong with an event, as RFC 9457 problem details want it.
struct Violation {
  std::string pointer;  // RFC 6901 into the message ("/to/0"); "" for the whole; "/type", "/message" beside the message
  std::string detail;   // a sentence; quotes at most 64 bytes of the input
};

// What a decoder accepts besides the format's rules. A missing id is allowed, and null, "", 0 and a time before 1970
// mean "absent" in optional fields (Go's zero values) with both.
enum class Strictness {
  kQueue,  // unknown fields are kept and ignored
  kApi,    // unknown message fields are refused, with the nearest known name
};

// Decodes JSON into events. Not thread-safe; one per thread, reused: it owns scratch buffers.
class EventDecoder {
 public:
  explicit EventDecoder(EventLimits limits = {});
  ~EventDecoder();
  EventDecoder(const EventDecoder&) = delete;
  EventDecoder& operator=(const EventDecoder&) = delete;

  // Decodes and validates a whole EmailEvent, `{"type":…,"message":{…}}`. Bounded in depth and size before anything is
  // kept; never recurses on the input's depth. On false `violations()` says why (at least one; at the 20th it stops;
  // text that is no JSON gives one) and `event` is unspecified. Byte ranges refer to `json`.
  [[nodiscard]] bool Decode(std::string_view json, Strictness strictness, EmailEvent& event);

  // The same for a bare message object, `{"to":…}`; `event.type` stays empty.
  [[nodiscard]] bool DecodeMessage(std::string_view json, Strictness strictness, EmailEvent& event);

  // Is `json` a bare message (its top level has no "message" field)? Used by the HTTP API, which takes both forms.
  // A text that is no JSON object counts as an event.
  static bool LooksLikeMessage(std::string_view json);

  // Of the last decoding; valid until the next.
  const std::vector<Violation>& violations() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// The rule that depends on the clock: how far ahead an event may be scheduled. Checked where it is accepted, and by the
// host for producers that ask nobody.
std::optional<Violation> ScheduleViolation(const EmailEvent& event, int64_t now_unix_ms);

// Makes the event a producer publishes from a validated one: the message's own bytes, unknown fields included, plus
// what is fixed at acceptance. `json` is the text `event` was decoded from (either form). Sets or replaces id,
// timestamp, retry_count 0 and status "pending"; adds `from` where it is absent and `default_from` is not empty. The
// result is the whole event form; a bare message gets `"type":""`. Appends to `out`. REQUIRES:
// IsValidId(acceptance.id); default_from is empty or a mailbox (ParseMailbox).
struct Acceptance {
  std::string_view id;
  int64_t timestamp_unix_ms = 0;
  std::string_view default_from;  // as configured, e.g. "Usual Store <noreply@usualstore.com>"
};
void EncodeAccepted(std::string_view json, const EmailEvent& event, const Acceptance& acceptance, std::string& out);

// A copy of `json` with retry_count and status replaced in place of their bytes; absent fields stay absent, and so do
// the bytes of a retry_count that is no number or a status that is no string.
// `status` is "pending", "sent" or "failed". Appends to `out`.
void PatchCopy(std::string_view json, const EmailEvent& event, int retry_count, std::string_view status,
               std::string& out);

// [A-Za-z0-9._:-]{1,128}
bool IsValidId(std::string_view id);

// A new random id (RFC 9562 UUIDv7: sortable by time).
std::string NewEventId();

// RFC 9562: the text of a UUID of that version; its version and variant bits are set here.
std::string FormatUuid(std::array<unsigned char, 16> bytes, int version);

// RFC 3339 with milliseconds, UTC ("2025-12-25T20:00:00.000Z"), and back (-1: not RFC 3339; any offset, 0 to 9 digits
// of fraction; a time before 1970 gives 0). REQUIRES of Format: a year from 0 to 9999.
std::string FormatRfc3339(int64_t unix_ms);
int64_t ParseRfc3339(std::string_view text);

// Appends `text` as a JSON string with its quotes; bytes that are no UTF-8 become U+FFFD.
void AppendJsonString(std::string_view text, std::string& out);

}  // namespace postbus
