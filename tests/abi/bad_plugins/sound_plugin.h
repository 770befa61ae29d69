/* tests/abi/bad_plugins/sound_plugin.h - a whole transport plugin without a fault, in C and C++. Each bad plugin
 * defines one of the macros before it includes this, and so has exactly one sin. */
#pragma once

#include <stdlib.h>
#include <string.h>

#include "postbus/abi.h"

#ifndef MAGIC
#define MAGIC POSTBUS_ABI_MAGIC
#endif
#ifndef ENTRY_SIZE
#define ENTRY_SIZE sizeof(postbus_entry)
#endif
#ifndef ABI_MAJOR
#define ABI_MAJOR POSTBUS_ABI_MAJOR
#endif
#ifndef ABI_MINOR
#define ABI_MINOR POSTBUS_ABI_MINOR
#endif
#ifndef KIND
#define KIND POSTBUS_KIND_TRANSPORT
#endif
#ifndef ID
#define ID "bad"
#endif
#ifndef VERSION
#define VERSION "1.0.0"
#endif
#ifndef RESERVED
#define RESERVED 0
#endif
#ifndef CAPS
#define CAPS 0
#endif
#ifndef OPTION_SIZE
#define OPTION_SIZE sizeof(postbus_option)
#endif
#ifndef OPTION_TYPE
#define OPTION_TYPE POSTBUS_OPTION_INTEGER
#endif
#ifndef OPTION_FLAGS
#define OPTION_FLAGS 0
#endif
#ifndef OPTION_NAME
#define OPTION_NAME "port"
#endif
#ifndef OPTION_DEFAULT
#define OPTION_DEFAULT "25"
#endif
#ifndef OPTIONS
#define OPTIONS &kPort
#endif
#ifndef TRANSPORT_SIZE
#define TRANSPORT_SIZE sizeof(postbus_transport)
#endif
#ifndef INSTANCE_MEMBERS
#define INSTANCE_MEMBERS
#endif
#ifndef AFTER_CREATE
#define AFTER_CREATE
#endif
#ifndef CREATE_BODY
#define CREATE_BODY
#endif
#ifndef SUBMIT_BODY
#define SUBMIT_BODY
#endif
#ifndef PROBE_BODY
#define PROBE_BODY
#endif
#ifndef CANCEL_BODY
#define CANCEL_BODY
#endif
#ifndef QUIESCE_BODY
#define QUIESCE_BODY
#endif
#ifndef DESTROY_BODY
#define DESTROY_BODY
#endif
#ifndef OUTSTANDING
#define OUTSTANDING 0
#endif
#ifndef SUBMIT
#define SUBMIT &Submit
#endif
#ifndef GET
#define GET &Get
#endif

struct postbus_instance {
  const postbus_host* host;
  INSTANCE_MEMBERS
};

static void CompleteAs(postbus_instance* self, uint64_t token, int32_t outcome) {
  postbus_result result;
  memset(&result, 0, sizeof result);
  result.size = sizeof result;
  result.outcome = outcome;
  self->host->complete(self->host->ctx, token, &result);
}

static inline int IsInTime(postbus_instance* self, const postbus_mail* mail) {
  return self->host->now_ms(self->host->ctx) < mail->deadline_ms;
}

static int32_t Create(const postbus_host* host, const postbus_options* options, postbus_instance** out,
                      const postbus_sink* error) {
  (void)options;
  (void)error;
  CREATE_BODY
  *out = (postbus_instance*)malloc(sizeof(postbus_instance));
  if (*out == NULL) return POSTBUS_ERROR;
  (*out)->host = host;
  AFTER_CREATE
  return POSTBUS_OK;
}

static int32_t Probe(postbus_instance* self, int64_t deadline_ms, const postbus_sink* report) {
  (void)self;
  (void)deadline_ms;
  (void)report;
  PROBE_BODY
  return POSTBUS_OK;
}

static inline uint32_t Submit(postbus_instance* self, const postbus_mail* const* mails, uint32_t n) {
  SUBMIT_BODY
  for (uint32_t i = 0; i < n; ++i) {
    uint8_t verdict = POSTBUS_ABORT;
    if (IsInTime(self, mails[i])) self->host->permit_send(self->host->ctx, &mails[i]->token, &verdict, 1);
    CompleteAs(self, mails[i]->token, verdict == POSTBUS_GO ? POSTBUS_ACCEPTED : POSTBUS_NOT_SENT);
  }
  return n;
}

static void Cancel(postbus_instance* self, const uint64_t* tokens, uint32_t n) {
  (void)self;
  (void)tokens;
  (void)n;
  CANCEL_BODY
}

static void Quiesce(postbus_instance* self, int64_t deadline_ms) {
  (void)self;
  (void)deadline_ms;
  QUIESCE_BODY
}

static uint32_t Outstanding(postbus_instance* self) {
  (void)self;
  return OUTSTANDING;
}

static void Destroy(postbus_instance* self) {
  DESTROY_BODY
  free(self);
}

static const postbus_transport kTransport = {
    TRANSPORT_SIZE, POSTBUS_TRANSPORT_WANTS_RAW | POSTBUS_TRANSPORT_TEST_ONLY | CAPS,
    &Create,        &Probe,
    SUBMIT,         &Cancel,
    &Quiesce,       &Outstanding,
    &Destroy};

static inline const void* Get(postbus_str id) {
  const char wanted[] = POSTBUS_TRANSPORT_ID;
  if (id.size != sizeof wanted - 1) return NULL;
  for (size_t i = 0; i < id.size; ++i) {
    if (id.data[i] != wanted[i]) return NULL;
  }
  return &kTransport;
}

static const postbus_option kPort = {OPTION_SIZE,
                                     OPTION_TYPE,
                                     OPTION_FLAGS,
                                     0,
                                     POSTBUS_STR(OPTION_NAME),
                                     POSTBUS_STR(OPTION_DEFAULT),
                                     POSTBUS_STR(""),
                                     POSTBUS_STR("port"),
                                     1,
                                     65535,
                                     POSTBUS_STR("The port of the server.")};
static const postbus_option* const kOptions[] = {OPTIONS};

const postbus_entry postbus_plugin_entry = {MAGIC,
                                            ENTRY_SIZE,
                                            ABI_MAJOR,
                                            ABI_MINOR,
                                            KIND,
                                            POSTBUS_STR(ID),
                                            POSTBUS_STR(VERSION),
                                            POSTBUS_STR("Has one fault."),
                                            kOptions,
                                            sizeof kOptions / sizeof kOptions[0],
                                            RESERVED,
                                            GET};
