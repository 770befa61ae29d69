// cli/email_history.h - what `status` and `send --wait` have in common: asking for an email's changes, and showing one.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "event/status.h"
#include "queue/status_history.h"
#include "queue/status_record.h"

namespace postbus {

inline constexpr auto kPollHistory = std::chrono::milliseconds(50);

using EmailHistory = std::vector<StatusRecord>;

// Asks again and again until the history can tell (Kafka: the status topic has been read) and `is_enough` is true of
// what it told, or of its saying that it knows no such email (then with an empty list). Past the deadline: the last
// answer.
Result<EmailHistory> AskHistory(StatusHistory& history, std::string_view id, int64_t deadline_boot_ms,
                                const std::function<bool(std::span<const StatusRecord>)>& is_enough);

// The last change that is about this recipient (host/recipient_hash.h); nullptr: the history does not tell which it is.
const StatusRecord* LastChangeOf(uint64_t recipient_hash, const EmailHistory& history);

// "2026-11-23T22:04:38.001Z deferred recipient 0,2 try 1 via primary: transient 450 4.2.0 busy; again at 2026-…"
std::string ChangeLine(const StatusRecord& record);

}  // namespace postbus
