/* postbus/abi/transport.h - extension "postbus.transport/1": hands mails to the next hop. */
#pragma once

#include "postbus/abi/host.h"
#include "postbus/abi/mail.h"
#include "postbus/abi/option.h"

#define POSTBUS_TRANSPORT_ID "postbus.transport/1"

enum {
  POSTBUS_TRANSPORT_WANTS_RAW = 1 << 0,   /* fill postbus_mail.raw */
  POSTBUS_TRANSPORT_WANTS_PARTS = 1 << 1, /* fill postbus_mail.parts */
  POSTBUS_TRANSPORT_IDEMPOTENT = 1 << 2,  /* the provider honours idempotency_key: IN_DOUBT may be sent again */
  POSTBUS_TRANSPORT_TEST_ONLY = 1 << 3    /* never delivers to a real mailbox; the banner says so */
};

typedef struct postbus_transport {
  uint32_t size;
  uint32_t caps;

  /* Makes an instance: checks the options, starts its threads, opens no connection. On POSTBUS_ERROR `*out` stays
   * untouched and `error` has a sentence that says what, where and what to do. Several instances may be alive at the
   * same time, two of one configuration as well as the old and the new one of a reload.
   * [control] */
  int32_t (*create)(const postbus_host* host, const postbus_options* options, postbus_instance** out,
                    const postbus_sink* error);

  /* Tries what a first mail would try (connect, TLS, greeting, AUTH) and sends none. May block until `deadline_ms`. On
   * POSTBUS_ERROR `report` has a sentence. Prefers a false pass to a false fail. [control & open] */
  int32_t (*probe)(postbus_instance* self, int64_t deadline_ms, const postbus_sink* report);

  /* Offers `n` >= 1 mails in order; returns how many it took: the first k. Each of those is completed exactly once,
   * later or from within this call; the others are not, and may be offered again or not. Never blocks. Having taken
   * fewer than `n` it calls host->writable when there is room. `mails` itself goes when this returns, what it points to
   * stays. [any & open] */
  uint32_t (*submit)(postbus_instance* self, const postbus_mail* const* mails, uint32_t n);

  /* Wants these mails back: each that is before its point of no return is completed as NOT_SENT soon; the others go on.
   * Unknown tokens, such as of mails completed meanwhile, are ignored. Never blocks. [any & open] */
  void (*cancel)(postbus_instance* self, const uint64_t* tokens, uint32_t n);

  /* The host has stopped submitting: finish what was taken, close idle connections; past `deadline_ms` complete the
   * rest (NOT_SENT or IN_DOUBT). Never blocks. At most once; a submit that was under way on another thread may still
   * come in, and is treated as if it had come before. An instance that was given no mail may be destroyed without.
   * [control & open] */
  void (*quiesce)(postbus_instance* self, int64_t deadline_ms);

  /* Mails taken whose complete has not returned yet. Never blocks. [any & open] */
  uint32_t (*outstanding)(postbus_instance* self);

  /* Ends the instance. Called at outstanding() == 0, when no other call on it is under way; none comes after. When it
   * returns the instance's threads are joined and none of the host's functions is called any more. [control & open] */
  void (*destroy)(postbus_instance* self);
} postbus_transport;
