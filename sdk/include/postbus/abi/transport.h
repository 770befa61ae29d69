/* postbus/abi/transport.h - extension "postbus.transport/0": hands mails to the next hop. */
#pragma once

#include "postbus/abi/host.h"
#include "postbus/abi/mail.h"
#include "postbus/abi/option.h"

#define POSTBUS_TRANSPORT_ID "postbus.transport/0"

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
   * untouched and `error` has a sentence that says what, where and what to do. [control] */
  int32_t (*create)(const postbus_host* host, const postbus_options* options, postbus_instance** out,
                    const postbus_sink* error);

  /* Tries what a first mail would try (connect, TLS, greeting, AUTH) and sends none. May block until `deadline_ms`.
   * Prefers a false pass to a false fail. [control & open] */
  int32_t (*probe)(postbus_instance* self, int64_t deadline_ms, const postbus_sink* report);

  /* Offers `n` mails in order; returns how many it took: the first k. Each of those is completed exactly once, later or
   * from within this call. Never blocks. Having taken fewer than `n` it calls host->writable when there is room.
   * [any & open] */
  uint32_t (*submit)(postbus_instance* self, const postbus_mail* const* mails, uint32_t n);

  /* Wants these mails back: each that is before its point of no return is completed as NOT_SENT soon; the others go on.
   * Unknown tokens are ignored. Never blocks. [any & open] */
  void (*cancel)(postbus_instance* self, const uint64_t* tokens, uint32_t n);

  /* Nothing more will be submitted: finish what was taken, close idle connections; past `deadline_ms` complete the rest
   * (NOT_SENT or IN_DOUBT). Never blocks. [control & open] */
  void (*quiesce)(postbus_instance* self, int64_t deadline_ms);

  /* Mails taken and not yet completed. [any & open] */
  uint32_t (*outstanding)(postbus_instance* self);

  /* Ends the instance; its threads are joined on return. Called at outstanding() == 0. [control & open] */
  void (*destroy)(postbus_instance* self);
} postbus_transport;
