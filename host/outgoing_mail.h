// host/outgoing_mail.h - the mail that a transport is given, made of an event: rendered, where it has a template, and
// composed (raw), or put together in pieces (parts), as the transport wants it.
#pragma once

#include <deque>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "event/email_event.h"
#include "host/generation.h"
#include "host/mail_parts.h"
#include "host/mime_composer.h"
#include "host/renderer.h"
#include "postbus/abi/mail.h"
#include "queue/queue.h"

namespace postbus {

// One thread at a time; reused, it keeps its capacity.
struct OutgoingMail {
  // Everything but token, deadline, envelope and its key. It points into this object, the event and the record.
  postbus_mail view{};

  std::string message_id;
  std::string raw;
  MailParts parts;
  RenderedMail rendered;  // kept only for transports that want parts
  std::vector<MailFile> files;
  std::deque<std::string> unescaped;  // base64 of files that have JSON escapes in it

  // Gives back what a large mail needed beyond `bytes`.
  void Trim(size_t bytes);
};

// One thread at a time.
class MailMaker {
 public:
  // Why no mail can be made of the event: what its dead letter says.
  struct Fault {
    std::string_view reason;
    std::string message;  // no address in it
  };

  // `queued`, `event` and `id` stay as they are as long as `out` is used; `event` was decoded from `queued`.
  std::optional<Fault> Make(const QueuedEvent& queued, const EmailEvent& event, std::string_view id,
                            const Generation& generation, const Transport& transport, OutgoingMail& out);

 private:
  void FillView(const QueuedEvent& queued, const EmailEvent& event, std::string_view id, const MailContent& content,
                const Transport& transport, OutgoingMail& out) const;

  MimeComposer composer_;
  RenderedMail rendered_;
};

}  // namespace postbus
