#include "cli/check_memory.h"

#include <sys/mman.h>

#include <cstdlib>
#include <cstring>

namespace postbus {

CheckMemory::CheckMemory(size_t bytes)
    : capacity_(bytes),
      begin_(static_cast<char*>(::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0))) {
  if (begin_ == MAP_FAILED) std::abort();
}

void CheckMemory::TakeAway() { ::mprotect(begin_, capacity_, PROT_NONE); }

template <typename T>
T* CheckMemory::Put(const T* from, size_t n) {
  used_ = (used_ + alignof(T) - 1) / alignof(T) * alignof(T);
  const size_t bytes = n * sizeof(T);
  if (bytes > capacity_ - used_) std::abort();
  char* const to = begin_ + used_;
  if (bytes != 0) std::memcpy(to, from, bytes);
  used_ += bytes;
  return reinterpret_cast<T*>(to);
}

postbus_str CheckMemory::Copy(postbus_str text) { return {Put(text.data, text.size), text.size}; }

postbus_mailbox CheckMemory::Copy(const postbus_mailbox& mailbox) {
  return {.name = Copy(mailbox.name), .address = Copy(mailbox.address)};
}

const postbus_mailbox* CheckMemory::CopyMailboxes(const postbus_mailbox* from, uint32_t n) {
  postbus_mailbox* const to = Put(from, n);
  for (uint32_t i = 0; i < n; ++i) to[i] = Copy(from[i]);
  return to;
}

const postbus_header* CheckMemory::CopyHeaders(const postbus_header* from, uint32_t n) {
  postbus_header* const to = Put(from, n);
  for (uint32_t i = 0; i < n; ++i) to[i] = {.name = Copy(from[i].name), .value = Copy(from[i].value)};
  return to;
}

const postbus_str* CheckMemory::CopyTexts(const postbus_str* from, uint32_t n) {
  postbus_str* const to = Put(from, n);
  for (uint32_t i = 0; i < n; ++i) to[i] = Copy(from[i]);
  return to;
}

const postbus_parts* CheckMemory::Copy(const postbus_parts& parts) {
  postbus_parts* const to = Put(&parts, 1);
  to->from = Copy(parts.from);
  to->to = CopyMailboxes(parts.to, parts.n_to);
  to->cc = CopyMailboxes(parts.cc, parts.n_cc);
  to->bcc = CopyMailboxes(parts.bcc, parts.n_bcc);
  to->reply_to = CopyMailboxes(parts.reply_to, parts.n_reply_to);
  to->subject = Copy(parts.subject);
  to->text = Copy(parts.text);
  to->html = Copy(parts.html);
  to->headers = CopyHeaders(parts.headers, parts.n_headers);
  to->metadata = CopyHeaders(parts.metadata, parts.n_metadata);
  to->tags = CopyTexts(parts.tags, parts.n_tags);
  const postbus_attachment** const files =
      Put(const_cast<const postbus_attachment**>(parts.attachments), parts.n_attachments);
  for (uint32_t i = 0; i < parts.n_attachments; ++i) {
    postbus_attachment* const file = Put(parts.attachments[i], 1);
    file->filename = Copy(file->filename);
    file->content_type = Copy(file->content_type);
    file->content_id = Copy(file->content_id);
    file->base64 = Copy(file->base64);
    files[i] = file;
  }
  to->attachments = files;
  return to;
}

const postbus_mail* CheckMemory::Copy(const postbus_mail& mail) {
  postbus_mail* const to = Put(&mail, 1);
  to->event_id = Copy(mail.event_id);
  to->idempotency_key = Copy(mail.idempotency_key);
  to->message_id = Copy(mail.message_id);
  to->sender = Copy(mail.sender);
  to->recipients = CopyTexts(mail.recipients, mail.n_recipients);
  to->raw = Copy(mail.raw);
  if (mail.parts != nullptr) to->parts = Copy(*mail.parts);
  return to;
}

const postbus_options* CheckMemory::Copy(const postbus_options& options) {
  postbus_options* const to = Put(&options, 1);
  const postbus_value** const values = Put(const_cast<const postbus_value**>(options.values), options.n_values);
  for (uint32_t i = 0; i < options.n_values; ++i) {
    postbus_value* const value = Put(options.values[i], 1);
    value->string = Copy(value->string);
    value->items = CopyTexts(value->items, value->n_items);
    values[i] = value;
  }
  to->values = values;
  return to;
}

const postbus_mail* const* CheckMemory::Copy(const postbus_mail* const* mails, size_t n) {
  return Put(const_cast<const postbus_mail**>(mails), n);
}

}  // namespace postbus
