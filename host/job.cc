#include "host/job.h"

#include <algorithm>

#include "host/idempotency_key.h"

namespace postbus {
namespace {

constexpr size_t kKeptBufferBytes = 64 * 1024;

void TrimBuffer(std::string& buffer) {
  if (buffer.capacity() > kKeptBufferBytes) std::string().swap(buffer);
}

}  // namespace

void Job::FillEnvelope() {
  const Mailbox* redirect_to = generation->recipients.redirect_to();
  redirected = redirect_to != nullptr;
  indexes.clear();
  recipients.clear();
  for (uint32_t r = 0; r < event.recipient_count(); ++r) {
    if (!due.contains(r)) continue;
    indexes.push_back(r);
    if (redirect_to == nullptr) recipients.push_back(View(event.recipient(r).address));
  }
  if (redirect_to != nullptr) recipients.push_back(View(redirect_to->address));
  postbus_mail& mail = outgoing.view;
  mail.recipients = recipients.data();
  mail.n_recipients = static_cast<uint32_t>(recipients.size());
  if (mail.parts != nullptr) outgoing.parts.SetRecipients(event, due, redirect_to);
  mail.idempotency_key = View(IdempotencyKey(id, due, event.recipient_count(), queued.headers.replay, idempotency_key));
}

int64_t Job::AgeMs(int64_t now_due_ms) const {
  const int64_t since = std::max(queued.headers.accepted_at_unix_ms, event.scheduled_at_unix_ms);
  return std::max<int64_t>(0, now_due_ms - since);
}

void Job::Trim() {
  outgoing.Trim(kKeptBufferBytes);
  TrimBuffer(queued.value);
  TrimBuffer(event.text);
  TrimBuffer(event.html);
}

}  // namespace postbus
