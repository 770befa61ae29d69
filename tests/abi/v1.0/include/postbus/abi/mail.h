/* postbus/abi/mail.h - one mail as a transport sees it. No text in it but `text`, `html` and `raw` has a line break or
 * another control character than a tab. Domains of addresses are ASCII (A-labels) wherever that is possible. */
#pragma once

#include "postbus/abi/types.h"

/* A mailbox: display name (may be empty) and RFC 5321 address local-part@domain. */
typedef struct postbus_mailbox {
  postbus_str name;
  postbus_str address;
} postbus_mailbox;

typedef struct postbus_header {
  postbus_str name;
  postbus_str value; /* unfolded, UTF-8, not encoded */
} postbus_header;

/* A file of the mail. */
typedef struct postbus_attachment {
  uint32_t size;
  uint32_t reserved;
  postbus_str filename;
  postbus_str content_type; /* RFC 2045 type/subtype, perhaps with parameters; never empty */
  postbus_str content_id;   /* without angle brackets; not empty: inline, the html refers to it as cid: and this */
  postbus_str base64;       /* what it holds: RFC 4648 section 4, padded, no line breaks */
} postbus_attachment;

/* The mail in pieces, for providers that compose it themselves. Text is UTF-8 with LF or CRLF line ends. `to`, `cc` and
 * `bcc` are together the recipients of this attempt, in the envelope's order: who had the mail before, or may not get
 * it, is in none of them. So `to` can be empty where `cc` or `bcc` is not. */
typedef struct postbus_parts {
  uint32_t size;
  uint32_t n_to;
  uint32_t n_cc;
  uint32_t n_bcc;
  uint32_t n_reply_to;
  uint32_t n_headers;
  uint32_t n_attachments;
  uint32_t n_tags;
  uint32_t n_metadata;
  uint32_t reserved;
  int64_t date_unix_ms; /* of the Date header */
  postbus_mailbox from;
  const postbus_mailbox* to;
  const postbus_mailbox* cc;
  const postbus_mailbox* bcc; /* in no header */
  const postbus_mailbox* reply_to;
  postbus_str subject;
  postbus_str text;
  postbus_str html;
  const postbus_header* headers; /* besides those of the fields here, Message-ID and what a provider writes itself */
  const postbus_attachment* const* attachments;
  const postbus_str* tags;        /* for providers that sort mails by such */
  const postbus_header* metadata; /* for providers that give it back in their reports */
} postbus_parts;

enum {
  POSTBUS_MAIL_8BIT = 1 << 0,     /* `raw` has bytes above 127: needs 8BITMIME */
  POSTBUS_MAIL_SMTPUTF8 = 1 << 1, /* an address has bytes above 127: needs SMTPUTF8 */
  POSTBUS_MAIL_HIGH = 1 << 2,     /* high priority */
  POSTBUS_MAIL_LOW = 1 << 3       /* low priority */
};

/* Valid and constant, with all it points to, from submit until its complete is called. */
typedef struct postbus_mail {
  uint32_t size;
  uint32_t flags;
  uint64_t token;                /* names this attempt in permit_send, complete and cancel; no other mail has it */
  postbus_str event_id;          /* ASCII; the same for every attempt */
  postbus_str idempotency_key;   /* ASCII; the same for every attempt to give it to the same recipients */
  postbus_str message_id;        /* of the Message-ID header, with its angle brackets */
  postbus_str sender;            /* envelope: RFC 5321 reverse-path without angle brackets */
  const postbus_str* recipients; /* envelope: RFC 5321 forward-paths without angle brackets */
  uint32_t n_recipients;         /* at least 1 */
  uint32_t attempt;              /* 1 = first */
  postbus_str raw;               /* canonical RFC 5322: CRLF only, lines <= 998, not dot-stuffed; caps WANTS_RAW */
  const postbus_parts* parts;    /* caps WANTS_PARTS, else NULL */
  int64_t deadline_ms;           /* give up (NOT_SENT) if the point of no return is not reached by then */
} postbus_mail;
