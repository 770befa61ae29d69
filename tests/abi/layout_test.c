/* tests/abi/layout_test.c - the layout of every released struct of the plugin ABI, pinned: sizes and offsets on x86-64
 * and every other LP64 machine. Compiled as C11 and, through layout_test.cc, as C++20. A line that fails means: plugins
 * built before this change break. Structs grow at the end; then a new line is added here and the size changes, never an
 * offset.
 */
#include <assert.h>
#include <stddef.h>

#include "postbus/abi.h"

#define SIZE(type, size) static_assert(sizeof(type) == (size), #type " has another size than the released one")
#define FIELD(type, field, offset, size)                                       \
  static_assert(offsetof(type, field) == (offset), #type "." #field " moved"); \
  static_assert(sizeof(((type*)0)->field) == (size), #type "." #field " has another size")

/* abi/types.h */
SIZE(postbus_str, 16);
FIELD(postbus_str, data, 0, 8);
FIELD(postbus_str, size, 8, 8);

SIZE(postbus_sink, 24);
FIELD(postbus_sink, size, 0, 4);
FIELD(postbus_sink, ctx, 8, 8);
FIELD(postbus_sink, write, 16, 8);

/* abi/option.h */
SIZE(postbus_option, 112);
FIELD(postbus_option, size, 0, 4);
FIELD(postbus_option, type, 4, 4);
FIELD(postbus_option, flags, 8, 4);
FIELD(postbus_option, reserved, 12, 4);
FIELD(postbus_option, name, 16, 16);
FIELD(postbus_option, default_value, 32, 16);
FIELD(postbus_option, choices, 48, 16);
FIELD(postbus_option, unit, 64, 16);
FIELD(postbus_option, minimum, 80, 8);
FIELD(postbus_option, maximum, 88, 8);
FIELD(postbus_option, description, 96, 16);

SIZE(postbus_value, 48);
FIELD(postbus_value, size, 0, 4);
FIELD(postbus_value, is_default, 4, 4);
FIELD(postbus_value, integer, 8, 8);
FIELD(postbus_value, string, 16, 16);
FIELD(postbus_value, items, 32, 8);
FIELD(postbus_value, n_items, 40, 4);
FIELD(postbus_value, reserved, 44, 4);

SIZE(postbus_options, 16);
FIELD(postbus_options, size, 0, 4);
FIELD(postbus_options, n_values, 4, 4);
FIELD(postbus_options, values, 8, 8);

/* abi/outcome.h */
SIZE(postbus_recipient_result, 40);
FIELD(postbus_recipient_result, size, 0, 4);
FIELD(postbus_recipient_result, recipient, 4, 4);
FIELD(postbus_recipient_result, outcome, 8, 4);
FIELD(postbus_recipient_result, phase, 12, 4);
FIELD(postbus_recipient_result, code, 16, 2);
FIELD(postbus_recipient_result, enhanced, 18, 3);
FIELD(postbus_recipient_result, reserved, 21, 1);
FIELD(postbus_recipient_result, text, 24, 16);

SIZE(postbus_result, 80);
FIELD(postbus_result, size, 0, 4);
FIELD(postbus_result, outcome, 4, 4);
FIELD(postbus_result, phase, 8, 4);
FIELD(postbus_result, code, 12, 2);
FIELD(postbus_result, enhanced, 14, 3);
FIELD(postbus_result, reserved, 17, 1);
FIELD(postbus_result, retry_after_ms, 24, 8);
FIELD(postbus_result, text, 32, 16);
FIELD(postbus_result, provider_id, 48, 16);
FIELD(postbus_result, recipients, 64, 8);
FIELD(postbus_result, n_recipients, 72, 4);
FIELD(postbus_result, reserved2, 76, 4);

/* abi/mail.h */
SIZE(postbus_mailbox, 32);
FIELD(postbus_mailbox, name, 0, 16);
FIELD(postbus_mailbox, address, 16, 16);

SIZE(postbus_header, 32);
FIELD(postbus_header, name, 0, 16);
FIELD(postbus_header, value, 16, 16);

SIZE(postbus_attachment, 72);
FIELD(postbus_attachment, size, 0, 4);
FIELD(postbus_attachment, reserved, 4, 4);
FIELD(postbus_attachment, filename, 8, 16);
FIELD(postbus_attachment, content_type, 24, 16);
FIELD(postbus_attachment, content_id, 40, 16);
FIELD(postbus_attachment, base64, 56, 16);

SIZE(postbus_parts, 192);
FIELD(postbus_parts, size, 0, 4);
FIELD(postbus_parts, n_to, 4, 4);
FIELD(postbus_parts, from, 8, 32);
FIELD(postbus_parts, to, 40, 8);
FIELD(postbus_parts, subject, 48, 16);
FIELD(postbus_parts, text, 64, 16);
FIELD(postbus_parts, html, 80, 16);
FIELD(postbus_parts, date_unix_ms, 96, 8);
FIELD(postbus_parts, headers, 104, 8);
FIELD(postbus_parts, n_headers, 112, 4);
FIELD(postbus_parts, reserved, 116, 4);
FIELD(postbus_parts, cc, 120, 8);
FIELD(postbus_parts, bcc, 128, 8);
FIELD(postbus_parts, reply_to, 136, 8);
FIELD(postbus_parts, n_cc, 144, 4);
FIELD(postbus_parts, n_bcc, 148, 4);
FIELD(postbus_parts, n_reply_to, 152, 4);
FIELD(postbus_parts, n_attachments, 156, 4);
FIELD(postbus_parts, attachments, 160, 8);
FIELD(postbus_parts, tags, 168, 8);
FIELD(postbus_parts, metadata, 176, 8);
FIELD(postbus_parts, n_tags, 184, 4);
FIELD(postbus_parts, n_metadata, 188, 4);

SIZE(postbus_mail, 128);
FIELD(postbus_mail, size, 0, 4);
FIELD(postbus_mail, flags, 4, 4);
FIELD(postbus_mail, token, 8, 8);
FIELD(postbus_mail, event_id, 16, 16);
FIELD(postbus_mail, idempotency_key, 32, 16);
FIELD(postbus_mail, message_id, 48, 16);
FIELD(postbus_mail, sender, 64, 16);
FIELD(postbus_mail, recipients, 80, 8);
FIELD(postbus_mail, n_recipients, 88, 4);
FIELD(postbus_mail, attempt, 92, 4);
FIELD(postbus_mail, raw, 96, 16);
FIELD(postbus_mail, parts, 112, 8);
FIELD(postbus_mail, deadline_ms, 120, 8);

/* abi/host.h */
SIZE(postbus_host, 64);
FIELD(postbus_host, size, 0, 4);
FIELD(postbus_host, abi_major, 4, 2);
FIELD(postbus_host, abi_minor, 6, 2);
FIELD(postbus_host, ctx, 8, 8);
FIELD(postbus_host, log, 16, 8);
FIELD(postbus_host, now_ms, 24, 8);
FIELD(postbus_host, permit_send, 32, 8);
FIELD(postbus_host, complete, 40, 8);
FIELD(postbus_host, writable, 48, 8);
FIELD(postbus_host, get, 56, 8);

/* abi/transport.h */
SIZE(postbus_transport, 64);
FIELD(postbus_transport, size, 0, 4);
FIELD(postbus_transport, caps, 4, 4);
FIELD(postbus_transport, create, 8, 8);
FIELD(postbus_transport, probe, 16, 8);
FIELD(postbus_transport, submit, 24, 8);
FIELD(postbus_transport, cancel, 32, 8);
FIELD(postbus_transport, quiesce, 40, 8);
FIELD(postbus_transport, outstanding, 48, 8);
FIELD(postbus_transport, destroy, 56, 8);

/* abi/renderer.h */
SIZE(postbus_renderer, 40);
FIELD(postbus_renderer, size, 0, 4);
FIELD(postbus_renderer, caps, 4, 4);
FIELD(postbus_renderer, create, 8, 8);
FIELD(postbus_renderer, render, 16, 8);
FIELD(postbus_renderer, list, 24, 8);
FIELD(postbus_renderer, destroy, 32, 8);

/* abi/entry.h */
SIZE(postbus_entry, 88);
FIELD(postbus_entry, magic, 0, 4);
FIELD(postbus_entry, size, 4, 4);
FIELD(postbus_entry, abi_major, 8, 2);
FIELD(postbus_entry, abi_minor, 10, 2);
FIELD(postbus_entry, kind, 12, 4);
FIELD(postbus_entry, id, 16, 16);
FIELD(postbus_entry, version, 32, 16);
FIELD(postbus_entry, summary, 48, 16);
FIELD(postbus_entry, options, 64, 8);
FIELD(postbus_entry, n_options, 72, 4);
FIELD(postbus_entry, reserved, 76, 4);
FIELD(postbus_entry, get, 80, 8);

/* Numbers are as frozen as offsets. */
#define VALUE(name, value) static_assert((name) == (value), #name " has another value than the released one")
VALUE(POSTBUS_OK, 0);
VALUE(POSTBUS_ERROR, 1);
VALUE(POSTBUS_OPTION_STRING, 1);
VALUE(POSTBUS_OPTION_INTEGER, 2);
VALUE(POSTBUS_OPTION_BOOLEAN, 3);
VALUE(POSTBUS_OPTION_DURATION, 4);
VALUE(POSTBUS_OPTION_SIZE, 5);
VALUE(POSTBUS_OPTION_ENUM, 6);
VALUE(POSTBUS_OPTION_PATH, 7);
VALUE(POSTBUS_OPTION_LIST, 8);
VALUE(POSTBUS_OPTION_REQUIRED, 1);
VALUE(POSTBUS_OPTION_SECRET, 2);
VALUE(POSTBUS_ACCEPTED, 1);
VALUE(POSTBUS_TRANSIENT, 2);
VALUE(POSTBUS_THROTTLED, 3);
VALUE(POSTBUS_REJECTED_RECIPIENT, 4);
VALUE(POSTBUS_REJECTED_MESSAGE, 5);
VALUE(POSTBUS_UNSUPPORTED, 6);
VALUE(POSTBUS_PROVIDER_FAULT, 7);
VALUE(POSTBUS_NOT_SENT, 8);
VALUE(POSTBUS_IN_DOUBT, 9);
VALUE(POSTBUS_PHASE_NONE, 0);
VALUE(POSTBUS_PHASE_CONNECT, 1);
VALUE(POSTBUS_PHASE_TLS, 2);
VALUE(POSTBUS_PHASE_GREETING, 3);
VALUE(POSTBUS_PHASE_EHLO, 4);
VALUE(POSTBUS_PHASE_AUTH, 5);
VALUE(POSTBUS_PHASE_MAIL, 6);
VALUE(POSTBUS_PHASE_RCPT, 7);
VALUE(POSTBUS_PHASE_DATA, 8);
VALUE(POSTBUS_PHASE_BODY, 9);
VALUE(POSTBUS_PHASE_FINAL_DOT, 10);
VALUE(POSTBUS_PHASE_REQUEST, 11);
VALUE(POSTBUS_MAIL_8BIT, 1);
VALUE(POSTBUS_MAIL_SMTPUTF8, 2);
VALUE(POSTBUS_MAIL_HIGH, 4);
VALUE(POSTBUS_MAIL_LOW, 8);
VALUE(POSTBUS_LOG_DEBUG, 1);
VALUE(POSTBUS_LOG_INFO, 2);
VALUE(POSTBUS_LOG_WARNING, 3);
VALUE(POSTBUS_LOG_ERROR, 4);
VALUE(POSTBUS_ABORT, 0);
VALUE(POSTBUS_GO, 1);
VALUE(POSTBUS_TRANSPORT_WANTS_RAW, 1);
VALUE(POSTBUS_TRANSPORT_WANTS_PARTS, 2);
VALUE(POSTBUS_TRANSPORT_IDEMPOTENT, 4);
VALUE(POSTBUS_TRANSPORT_TEST_ONLY, 8);
VALUE(POSTBUS_RENDER_OK, 0);
VALUE(POSTBUS_RENDER_UNKNOWN_TEMPLATE, 1);
VALUE(POSTBUS_RENDER_MISSING_VARIABLE, 2);
VALUE(POSTBUS_RENDER_INVALID_DATA, 3);
VALUE(POSTBUS_RENDER_FAILED, 4);
VALUE(POSTBUS_KIND_TRANSPORT, 1);
VALUE(POSTBUS_KIND_RENDERER, 2);
VALUE(POSTBUS_ABI_MAGIC, 0x53554250u);

#ifndef __cplusplus
int main(void) { return 0; }
#endif
