#include "cli/email_history.h"

#include <algorithm>
#include <chrono>
#include <thread>

#include "event/clock.h"
#include "event/email_event.h"

namespace postbus {
Result<EmailHistory> AskHistory(StatusHistory& history, std::string_view id, int64_t deadline_boot_ms,
                                const std::function<bool(std::span<const StatusRecord>)>& is_enough) {
  while (true) {
    auto records = history.Find(id);
    const bool is_unknown = !records.ok() && records.status().kind() == ErrorKind::kNotFound;
    if (records.ok() ? is_enough(*records) : is_unknown && is_enough({})) return records;
    if (BootTimeMs() >= deadline_boot_ms) return records;
    std::this_thread::sleep_for(kPollHistory);
  }
}

const StatusRecord* LastChangeOf(uint64_t recipient_hash, const EmailHistory& history) {
  RecipientSet who;
  for (const StatusRecord& record : history) {
    auto hash = record.recipient_hashes.begin();
    for (size_t i = 0; i < EventLimits::kMaxRecipients && hash != record.recipient_hashes.end(); ++i) {
      if (record.recipients.contains(i) && *hash++ == recipient_hash) who.insert(i);
    }
  }
  const auto last = std::find_if(history.rbegin(), history.rend(), [&](const StatusRecord& record) {
    return record.recipients.empty() || (record.recipients.bits & who.bits) != 0;
  });
  return who.empty() || last == history.rend() ? nullptr : &*last;
}

std::string ChangeLine(const StatusRecord& record) {
  std::string line = FormatRfc3339(record.at_unix_ms) + " " + std::string(ChangeName(record.change));
  std::string recipients;
  for (size_t i = 0; i < EventLimits::kMaxRecipients; ++i) {
    if (record.recipients.contains(i)) recipients += (recipients.empty() ? " recipient " : ",") + std::to_string(i);
  }
  line += recipients;
  if (record.attempt != 0) line += " try " + std::to_string(record.attempt);
  if (!record.transport.empty()) line += " via " + record.transport;
  std::string reply = record.outcome;
  if (record.code != 0) reply += " " + std::to_string(record.code);
  if (!record.enhanced.empty()) reply += " " + record.enhanced;
  if (!record.text.empty()) reply += " " + record.text;
  if (!reply.empty()) line += ": " + reply;
  if (record.due_unix_ms != 0) line += "; again at " + FormatRfc3339(record.due_unix_ms);
  return line;
}

}  // namespace postbus
