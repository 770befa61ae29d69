/* postbus/abi/outcome.h - what became of one attempt to hand a mail over. */
#pragma once

#include "postbus/abi/types.h"

enum {
  POSTBUS_ACCEPTED = 1,           /* the next hop took responsibility */
  POSTBUS_TRANSIENT = 2,          /* the server put *this* mail off (4xx): later again; costs an attempt */
  POSTBUS_THROTTLED = 3,          /* too fast; see retry_after_ms; costs no attempt */
  POSTBUS_REJECTED_RECIPIENT = 4, /* permanent: this recipient */
  POSTBUS_REJECTED_MESSAGE = 5,   /* permanent: this mail */
  POSTBUS_UNSUPPORTED = 6,        /* permanent: needs what the server does not offer */
  POSTBUS_PROVIDER_FAULT = 7,     /* what it does to every mail: DNS, connect, TLS, greeting, AUTH, quota; no attempt */
  POSTBUS_NOT_SENT = 8,           /* taken back before the point of no return; no attempt */
  POSTBUS_IN_DOUBT = 9            /* past the point of no return, and no answer; an unknown number counts as this */
};

/* How far it came. SMTP words; POSTBUS_PHASE_REQUEST is an HTTP provider's request. */
enum {
  POSTBUS_PHASE_NONE = 0,    /* an unknown number counts as this */
  POSTBUS_PHASE_CONNECT = 1, /* name resolution and connect */
  POSTBUS_PHASE_TLS = 2,
  POSTBUS_PHASE_GREETING = 3,
  POSTBUS_PHASE_EHLO = 4,
  POSTBUS_PHASE_AUTH = 5,
  POSTBUS_PHASE_MAIL = 6,
  POSTBUS_PHASE_RCPT = 7,
  POSTBUS_PHASE_DATA = 8,
  POSTBUS_PHASE_BODY = 9,
  POSTBUS_PHASE_FINAL_DOT = 10,
  POSTBUS_PHASE_REQUEST = 11
};

/* Texts: no address, no secret; of more than 4 KiB the rest is cut. */
typedef struct postbus_recipient_result {
  uint32_t size;
  uint32_t recipient; /* index into postbus_mail.recipients; each at most once */
  int32_t outcome;
  int32_t phase;
  uint16_t code;        /* SMTP reply code or HTTP status, 0 = none */
  uint16_t enhanced[3]; /* RFC 3463 class, subject, detail; class 0 = none */
  postbus_str text;     /* the server's words */
} postbus_recipient_result;

typedef struct postbus_result {
  uint32_t size;
  uint32_t n_recipients;
  int32_t outcome; /* of every recipient that is not in `recipients` */
  int32_t phase;
  uint16_t code;
  uint16_t enhanced[3];
  uint64_t retry_after_ms; /* THROTTLED, TRANSIENT, PROVIDER_FAULT: not before, from now on; 0 = not said */
  postbus_str text;        /* the server's words, or the reason */
  postbus_str provider_id; /* the id the next hop gave the mail ("queued as ...") */
  const postbus_recipient_result* const* recipients;
} postbus_result;
