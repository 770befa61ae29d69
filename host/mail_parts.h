// host/mail_parts.h - a mail in pieces, as transports see it that compose themselves (postbus_parts). One thread at a
// time; reused, it keeps its capacity.
#pragma once

#include <string_view>
#include <vector>

#include "event/email_event.h"
#include "host/mime_composer.h"
#include "postbus/abi/mail.h"
#include "queue/event_headers.h"

namespace postbus {

// As plugins are given a text; it stays the caller's.
inline postbus_str View(std::string_view text) { return {text.data(), text.size()}; }

class MailParts {
 public:
  // Everything but the recipients. Views: `content` and `event`, with all they point to, stay as they are as long as
  // the parts are used.
  void Fill(const MailContent& content, const EmailEvent& event);

  // To, cc and bcc of this attempt: those of `due`, or `redirect_to` (if it is not null) instead of all of them.
  void SetRecipients(const EmailEvent& event, RecipientSet due, const Mailbox* redirect_to);

  const postbus_parts& view() const { return parts_; }

 private:
  postbus_parts parts_{};
  std::vector<postbus_mailbox> recipients_;  // to, cc and bcc, one behind the other
  std::vector<postbus_mailbox> reply_to_;
  std::vector<postbus_header> headers_;
  std::vector<postbus_header> metadata_;
  std::vector<postbus_str> tags_;
  std::vector<postbus_attachment> attachments_;
  std::vector<const postbus_attachment*> attachment_pointers_;
};

}  // namespace postbus
