#include "host/mail_parts.h"

namespace postbus {
namespace {

using postbus::View;  // beside those of here
postbus_mailbox View(const Mailbox& mailbox) { return {View(mailbox.name), View(mailbox.address)}; }
postbus_header View(const NamedText& pair) { return {View(pair.name), View(pair.value)}; }

template <typename Views, typename Items>
void Assign(const Items& items, Views& views) {
  views.clear();
  for (const auto& item : items) views.push_back(View(item));
}

}  // namespace

void MailParts::Fill(const MailContent& content, const EmailEvent& event) {
  Assign(content.reply_to, reply_to_);
  Assign(content.headers, headers_);
  headers_.push_back({View("Auto-Submitted"), View("auto-generated")});
  Assign(event.metadata, metadata_);
  Assign(event.tags, tags_);
  attachments_.clear();
  for (const MailFile& file : content.files) {
    attachments_.push_back({.size = sizeof(postbus_attachment),
                            .reserved = 0,
                            .filename = View(file.filename),
                            .content_type = View(file.content_type),
                            .content_id = View(file.content_id),
                            .base64 = View(file.base64)});
  }
  attachment_pointers_.clear();
  for (const postbus_attachment& attachment : attachments_) attachment_pointers_.push_back(&attachment);

  parts_ = {};
  parts_.size = sizeof parts_;
  parts_.from = View(*content.from);
  parts_.subject = View(content.subject);
  parts_.text = View(content.text);
  parts_.html = View(content.html);
  parts_.date_unix_ms = content.date_unix_ms;
  parts_.headers = headers_.data();
  parts_.n_headers = static_cast<uint32_t>(headers_.size());
  parts_.reply_to = reply_to_.data();
  parts_.n_reply_to = static_cast<uint32_t>(reply_to_.size());
  parts_.attachments = attachment_pointers_.data();
  parts_.n_attachments = static_cast<uint32_t>(attachment_pointers_.size());
  parts_.tags = tags_.data();
  parts_.n_tags = static_cast<uint32_t>(tags_.size());
  parts_.metadata = metadata_.data();
  parts_.n_metadata = static_cast<uint32_t>(metadata_.size());
}

void MailParts::SetRecipients(const EmailEvent& event, RecipientSet due, const Mailbox* redirect_to) {
  recipients_.clear();
  size_t index = 0;
  const auto add = [&](const std::vector<Mailbox>& mailboxes) {
    const size_t before = recipients_.size();
    for (const Mailbox& mailbox : mailboxes) {
      if (due.contains(index++)) recipients_.push_back(View(mailbox));
    }
    return static_cast<uint32_t>(recipients_.size() - before);
  };
  if (redirect_to != nullptr) {
    recipients_.push_back(View(*redirect_to));
    parts_.n_to = 1;
    parts_.n_cc = 0;
    parts_.n_bcc = 0;
  } else {
    parts_.n_to = add(event.to);
    parts_.n_cc = add(event.cc);
    parts_.n_bcc = add(event.bcc);
  }
  parts_.to = recipients_.data();
  parts_.cc = parts_.to + parts_.n_to;
  parts_.bcc = parts_.cc + parts_.n_cc;
}

}  // namespace postbus
