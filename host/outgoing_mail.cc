#include "host/outgoing_mail.h"

#include <algorithm>
#include <span>

#include "host/html_text.h"
#include "host/redact.h"
#include "host/schedule.h"

namespace postbus {
namespace {

bool IsOutsideAscii(const Mailbox& mailbox) {
  return std::any_of(mailbox.address.begin(), mailbox.address.end(),
                     [](char c) { return static_cast<unsigned char>(c) > 127; });
}

void FindFiles(const QueuedEvent& queued, const EmailEvent& event, OutgoingMail& out) {
  out.files.clear();
  out.unescaped.clear();
  for (const Attachment& attachment : event.attachments) {
    out.files.push_back({.filename = attachment.filename,
                         .content_type = attachment.content_type,
                         .content_id = attachment.content_id,
                         .base64 = AttachmentBase64(queued.value, attachment, out.unescaped.emplace_back())});
  }
}

}  // namespace

void OutgoingMail::Trim(size_t bytes) {
  for (std::string* buffer : {&raw, &rendered.text, &rendered.html}) {
    if (buffer->capacity() > bytes) std::string().swap(*buffer);
  }
  unescaped.clear();
}

std::optional<MailMaker::Fault> MailMaker::Make(const QueuedEvent& queued, const EmailEvent& event, std::string_view id,
                                                const Generation& generation, const Transport& transport,
                                                OutgoingMail& out) {
  RenderedMail& rendered = transport.wants_parts() ? out.rendered : rendered_;
  const Mailbox* redirect_to = generation.recipients.redirect_to();
  out.message_id.clear();
  AppendMessageId(id, event.from.domain(), out.message_id);
  FindFiles(queued, event, out);
  MailContent content{.from = &event.from,
                      .to = redirect_to != nullptr ? std::span(redirect_to, 1) : std::span(event.to),
                      .cc = redirect_to != nullptr ? std::span<const Mailbox>() : std::span(event.cc),
                      .reply_to = event.reply_to,
                      .subject = event.subject,
                      .text = event.text,
                      .html = event.html,
                      .headers = event.headers,
                      .files = out.files,
                      .message_id = out.message_id,
                      .date_unix_ms = DateOf(event, queued.headers.accepted_at_unix_ms)};
  if (!event.template_name.empty()) {
    const std::string_view json = event.data.size == 0
                                      ? std::string_view("{}")
                                      : std::string_view(queued.value).substr(event.data.offset, event.data.size);
    if (generation.renderer->Render(event.template_name, json, rendered) != RenderOutcome::kOk) {
      return Fault{"render_error", Redacted(rendered.error)};
    }
    content.text = rendered.text;
    content.html = rendered.html;
    if (content.subject.empty()) content.subject = rendered.subject;
    if (content.subject.empty()) {
      return Fault{"invalid_event", "/subject: neither the event nor its template has a subject"};
    }
  }
  if (content.text.empty() && !content.html.empty()) {
    HtmlToText(content.html, rendered.text);
    content.text = rendered.text;
  }
  if (transport.wants_raw()) {
    if (const Status status = composer_.Compose(content, out.raw); !status.ok()) {
      return Fault{"render_error", Redacted(status.message())};
    }
  }
  FillView(queued, event, id, content, transport, out);
  // Who is redirected to stands for all, those in bcc included.
  if (redirect_to == nullptr && std::any_of(event.bcc.begin(), event.bcc.end(), IsOutsideAscii)) {
    out.view.flags |= POSTBUS_MAIL_SMTPUTF8;
  }
  return std::nullopt;
}

void MailMaker::FillView(const QueuedEvent& queued, const EmailEvent& event, std::string_view id,
                         const MailContent& content, const Transport& transport, OutgoingMail& out) const {
  postbus_mail& view = out.view;
  view = {};
  view.size = sizeof view;
  view.event_id = View(id);
  view.message_id = View(out.message_id);
  view.sender = View(event.from.address);
  view.attempt = static_cast<uint32_t>(queued.headers.attempt) + 1;
  if (event.priority == Priority::kHigh) view.flags |= POSTBUS_MAIL_HIGH;
  if (event.priority == Priority::kLow) view.flags |= POSTBUS_MAIL_LOW;
  for (const auto& mailboxes : {std::span(&event.from, 1), content.to, content.cc, content.reply_to}) {
    if (std::any_of(mailboxes.begin(), mailboxes.end(), IsOutsideAscii)) view.flags |= POSTBUS_MAIL_SMTPUTF8;
  }
  if (transport.wants_raw()) {
    view.raw = View(out.raw);
    if (!composer_.is_7bit()) view.flags |= POSTBUS_MAIL_8BIT;
  }
  if (transport.wants_parts()) {
    out.parts.Fill(content, event);
    view.parts = &out.parts.view();
  }
}

}  // namespace postbus
