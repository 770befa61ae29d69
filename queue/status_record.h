// queue/status_record.h - one change in the life of an event: the record of `<prefix>-status`, the row of SQLite's
// status table. Carries no address, but hashes of those it is about. Value type and pure functions.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "event/status.h"
#include "queue/event_headers.h"

namespace postbus {

enum class Change : uint8_t { kQueued, kScheduled, kDeferred, kSent, kDeadLettered, kExpired, kCancelled };
std::string_view ChangeName(Change change);    // "queued", "scheduled", "deferred", "sent", "dead_lettered", ...
std::string_view ChangeStatus(Change change);  // the event format's word for it: "pending", "sent", "failed"

// Nobody will try again: the record tells the end of an accepted mail, and must not get lost.
bool IsEndWithoutMail(Change change);  // dead-lettered, expired, cancelled

// A reader ignores fields it does not know. A record with another `kFormat`, or of a change it does not know, it does
// not read at all: whoever keeps records keeps that one, too, for the postbus that will.
struct StatusRecord {
  static constexpr int kFormat = 1;

  std::string id;
  Change change = Change::kQueued;
  RecipientSet recipients;
  int64_t at_unix_ms = 0;
  int attempt = 0;  // the attempt this is about, 1 = first; 0 = none was made
  int replay = 0;
  int64_t due_unix_ms = 0;  // scheduled, deferred: until when
  std::string transport;    // its name in the configuration; empty = none
  std::string outcome;      // "accepted", "transient", "invalid_event", ...
  int code = 0;             // SMTP or HTTP
  std::string enhanced;     // "4.2.1"
  std::string text;         // reason or server's words, addresses removed, <= 512 bytes
  std::string provider_id;
  // Of the addresses of `recipients`, in their order (host/recipient_hash.h). Empty: not known.
  std::vector<uint64_t> recipient_hashes;
};

// {"v":1,"id":…,"event":"sent","status":"sent","rcpt":[0],"to":["c0ffee…"],"at":…,…}; absent fields left out. Appends.
void EncodeStatus(const StatusRecord& record, std::string& out);
Result<StatusRecord> DecodeStatus(std::string_view json);

// What an email's changes, in their order and at least one, say of it as a whole: "pending" while it is for one
// recipient, else "failed" if it is for one, else "sent".
std::string_view StatusOfAll(std::span<const StatusRecord> history);

// Adds the change that is still to come where the email was cancelled at that time: of those recipients who have been
// waiting for a later one. Until then no host will look at it.
void AddForeseenCancellation(int64_t requested_unix_ms, std::vector<StatusRecord>& history);

// kConflict, with the reason: nothing of it waits any more. An email that was cancelled may be so again.
Status MayBeCancelled(std::span<const StatusRecord> history);

}  // namespace postbus
