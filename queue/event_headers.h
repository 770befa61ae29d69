// queue/event_headers.h - what the queue keeps of an event beside its value: record headers in Kafka, a column in
// SQLite. A format that crosses records and versions; `postbus-fmt` is its version. Value types and pure functions.
#pragma once

#include <bit>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "event/status.h"

namespace postbus {

// Indexes into an event's `to` list (at most 50 recipients).
struct RecipientSet {
  uint64_t bits = 0;

  static RecipientSet All(size_t n) { return {n >= 64 ? ~uint64_t{0} : (uint64_t{1} << n) - 1}; }
  bool contains(size_t index) const { return (bits >> index & 1) != 0; }
  void insert(size_t index) { bits |= uint64_t{1} << index; }
  void erase(size_t index) { bits &= ~(uint64_t{1} << index); }
  bool empty() const { return bits == 0; }
  int size() const { return std::popcount(bits); }
  friend bool operator==(RecipientSet, RecipientSet) = default;
};

// Where a record was first read. Kafka: topic, partition, offset; SQLite: "sqlite", 0, row id.
struct Origin {
  std::string topic;
  int32_t partition = -1;
  int64_t offset = -1;

  // An id for an event that brought none: "topic.partition.offset".
  std::string DerivedId() const;
};

struct EventHeaders {
  static constexpr int kFormat = 1;
  static constexpr size_t kMaxValueBytes = 512;  // of each header; longer text is cut at a UTF-8 boundary

  int format = kFormat;             // postbus-fmt; a record without headers counts as the current format
  std::string id;                   // postbus-id; empty: a foreign record, the id is in its value or derived
  int attempt = 0;                  // postbus-attempt: attempts already spent
  int64_t due_unix_ms = 0;          // postbus-due: not before; 0 = at once
  int64_t accepted_at_unix_ms = 0;  // postbus-accepted-at; 0: the record's timestamp
  RecipientSet recipients;          // postbus-rcpt: indexes still due, "0,2"; absent and empty = all
  Origin origin;                    // postbus-origin: "topic/partition/offset"; offset -1 = this record is the origin
  std::string outcome_class;        // postbus-class: why it was deferred or dead-lettered, e.g. "transient"
  int replay = 0;                   // postbus-replay: how often it came back from the dead letters
  std::string traceparent;          // W3C trace context, passed on
};

using HeaderList = std::vector<std::pair<std::string, std::string>>;

// Appends our headers, in the order above, absent ones left out.
void EncodeHeaders(const EventHeaders& headers, HeaderList& out);

// Is it one of those, or reserved for a later one?
bool IsEventHeader(std::string_view name);

// Takes one header into `headers`. Unknown names are ignored. A value that does not parse is an error for the whole
// record (it is dead-lettered, never guessed at); a larger postbus-fmt is kept in `format` for the caller to judge.
Status DecodeHeader(std::string_view name, std::string_view value, EventHeaders& headers);

// The same as one text column: "name:value\n" lines, values without line breaks.
std::string HeadersToText(const EventHeaders& headers);
Result<EventHeaders> HeadersFromText(std::string_view text);

}  // namespace postbus
