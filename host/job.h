// host/job.h - an event whose turn is under way in a shard: from ShardQueue::Next to Complete or Abandon, with what was
// made of it. Reused, it keeps its buffers.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "event/email_event.h"
#include "host/attempt_result.h"
#include "host/claims.h"
#include "host/generation.h"
#include "host/outgoing_mail.h"
#include "queue/event_headers.h"
#include "queue/queue.h"

namespace postbus {

struct Lane;

struct Job {
  enum class Place : uint8_t { kFree, kHeld, kReady, kWaiting, kSubmitted };

  uint32_t slot = 0;
  uint32_t times_submitted = 0;
  // The token a transport may complete and ask permits for; 0 = none. Everything else belongs to the shard's thread
  // while it is 0, and to the transport (read only, `result` apart) while it is not.
  std::atomic<uint64_t> open_token{0};
  std::atomic<bool> taken_back{false};  // what a transport has is not to be sent

  Place place = Place::kFree;
  bool touched = false;  // something of this turn was settled already
  bool revoked = false;
  ClaimState claim = ClaimState::kNone;
  bool failed_over = false;  // not by the first transport of its route
  bool redirected = false;   // the envelope has one recipient that stands for all; what completes may come last of all
  int waits = 0;
  int64_t ready_at_boot_ms = 0;
  std::shared_ptr<const Generation> generation;  // what it was prepared by; none while it is free
  std::vector<uint32_t> order;                   // the route's transports for this event
  Lane* lane = nullptr;                          // of the transport it is prepared for
  Lane* in_lane = nullptr;                       // whose share of the window it takes; none: nobody's yet
  size_t domains_passed = 0;                     // recipients whose domain has a slot for it
  std::chrono::steady_clock::time_point submitted_at;

  QueuedEvent queued;
  EmailEvent event;
  RecipientSet due;  // not settled in this turn yet
  std::string id;
  OutgoingMail outgoing;
  std::string idempotency_key;          // where it is not the id
  std::vector<uint32_t> indexes;        // of the envelope's recipients, in the event's
  std::vector<postbus_str> recipients;  // the envelope
  AttemptResult result;

  // Makes the envelope, and what of the mail goes with it, of the recipients that are due.
  void FillEnvelope();
  // Of the recipient indexes[i].
  const RecipientOutcome& OutcomeOf(uint32_t i) const { return result.of(redirected ? 0 : i); }
  // Since it was accepted, or was to be sent first.
  int64_t AgeMs(int64_t now_due_ms) const;
  // Gives back what a large mail needed.
  void Trim();
};

}  // namespace postbus
