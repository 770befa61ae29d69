// queue/kafka/outgoing.h - the records we write: events, deferred copies, dead letters, status. What the formats of
// DESIGN.md say of topics, keys and headers is said here and nowhere else. Pure functions.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "queue/kafka/record_producer.h"
#include "queue/kafka/topics.h"
#include "queue/queue.h"

namespace postbus::kafka {

// A record that was read, as far as its copies need it.
struct Source {
  std::string topic;
  int32_t partition = -1;
  int64_t offset = -1;
  std::string key;
  bool has_key = false;
  EventHeaders headers;  // origin filled
  HeaderList others;     // a foreign producer's, of which we know nothing
};

// Reads a record's key and headers. kInvalid: a header that does not parse; `source` has what does, so that the dead
// letter can be written. An unknown postbus-fmt is in `source.headers.format` and no error.
Status ReadSource(const rd_kafka_message_t& message, Source& source);

// The largest delay step that an event due in `remaining_ms` fits into; the smallest if it fits into none. A second of
// grace, since some time has passed between "in 30 s" and this call: 29.9 s fit into 30s. Nothing comes early by it, as
// the delay service goes by the due time.
size_t DelayStepFor(int64_t remaining_ms);

Record EventRecord(const TopicNames& names, const NewEvent& event);

// Key: the email id, or the source's key where only the value knows the id.
Record DeferredRecord(const TopicNames& names, const Source& source, const DeferredCopy& copy, int64_t now_unix_ms);

// The source itself in the topic of another priority, with its place of origin from now on, as whoever reads it there
// derives its id from that.
Record ForwardedRecord(const TopicNames& names, const Source& source, Priority to, std::string_view value);

// Key and value of the source. `__dlq.errors.*` (KIP-1191) name the record that was read last, postbus-origin the
// first.
Record DeadLetterRecord(const TopicNames& names, const std::string& group, const Source& source,
                        const DeadLetterCopy& copy);

// The dead letter and the status record of a source that no host gets to see.
struct Burial {
  Record letter;
  Record status;
};
Burial Bury(const TopicNames& names, const std::string& group, const Source& source, std::string_view outcome_class,
            std::string_view message, std::string_view value);

// The dead letter that takes the place of a copy which was not stored, or not for certain.
Record LetterFor(const TopicNames& names, const std::string& group, const Source& source, Record copy,
                 std::string_view outcome_class, std::string_view message);
inline constexpr std::string_view kCopyInDoubt =
    "it was to be sent later; whether the copy for that was stored is not known";

// What a copy is; decides what is written when its topic does not take a record of its size.
enum class CopyKind { kDeferred, kForwarded, kDeadLetter, kPointer, kStatus };
// It will be read again, somewhere, and its mail sent.
inline bool IsEvent(CopyKind kind) { return kind == CopyKind::kDeferred || kind == CopyKind::kForwarded; }
struct Copy {
  Record record;
  CopyKind kind;
};
// In place of a deferred or forwarded event a dead letter of class too_large (LetterFor). In place of a dead letter a
// *pointer record*: the same without the value, and with the header postbus-pointer, topic/partition/offset of the
// record that has it for as long as that topic keeps it. Nothing in place of the others.
std::optional<Copy> SmallerThan(const TopicNames& names, const std::string& group, const Source& source, CopyKind kind,
                                Record too_large);

// {"v":1,"id":…,"at":…}. What counts is the key.
Record CancellationRecord(const TopicNames& names, std::string_view id, int64_t at_unix_ms);

Record StatusChangeRecord(const TopicNames& names, const StatusRecord& status);

}  // namespace postbus::kafka
