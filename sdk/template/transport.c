/* A transport in plain C: asks for permission, accepts what it may, and forgets it. TODO: send it, in a thread. */
#include <stdlib.h>
#include <string.h>

#include "postbus/abi.h"

struct postbus_instance {
  const postbus_host* host; /* valid until destroy has returned */
};

static int32_t Create(const postbus_host* host, const postbus_options* options, postbus_instance** out,
                      const postbus_sink* error) {
  const postbus_str greeting = options->values[0]->string; /* a view: gone when this function returns */
  if (greeting.size == 0) {
    const char sentence[] = "greeting is empty; write a word of your choice";
    error->write(error->ctx, sentence, sizeof sentence - 1);
    return POSTBUS_ERROR;
  }
  postbus_instance* const self = malloc(sizeof *self);
  if (self == NULL) return POSTBUS_ERROR;
  self->host = host;
  host->log(host->ctx, POSTBUS_LOG_INFO, greeting);
  *out = self;
  return POSTBUS_OK;
}

static int32_t Probe(postbus_instance* self, int64_t deadline_ms, const postbus_sink* report) {
  (void)self;
  (void)deadline_ms;
  (void)report;
  return POSTBUS_OK;
}

static uint32_t Submit(postbus_instance* self, const postbus_mail* const* mails, uint32_t n) {
  const postbus_host* const host = self->host;
  for (uint32_t i = 0; i < n; ++i) {
    uint8_t verdict = POSTBUS_ABORT;
    if (host->now_ms(host->ctx) < mails[i]->deadline_ms) host->permit_send(host->ctx, &mails[i]->token, &verdict, 1);
    postbus_result result;
    memset(&result, 0, sizeof result);
    result.size = sizeof result;
    result.outcome = verdict == POSTBUS_GO ? POSTBUS_ACCEPTED : POSTBUS_NOT_SENT;
    host->complete(host->ctx, mails[i]->token, &result);
  }
  return n;
}

static void Cancel(postbus_instance* self, const uint64_t* tokens, uint32_t n) {
  (void)self; /* nothing is ever waiting */
  (void)tokens;
  (void)n;
}

static void Quiesce(postbus_instance* self, int64_t deadline_ms) {
  (void)self;
  (void)deadline_ms;
}

static uint32_t Outstanding(postbus_instance* self) {
  (void)self;
  return 0;
}

static void Destroy(postbus_instance* self) { free(self); }

static const postbus_transport kTransport = {.size = sizeof(postbus_transport),
                                             .caps = POSTBUS_TRANSPORT_TEST_ONLY,
                                             .create = Create,
                                             .probe = Probe,
                                             .submit = Submit,
                                             .cancel = Cancel,
                                             .quiesce = Quiesce,
                                             .outstanding = Outstanding,
                                             .destroy = Destroy};

static const void* Get(postbus_str id) {
  const size_t size = sizeof POSTBUS_TRANSPORT_ID - 1;
  return id.size == size && memcmp(id.data, POSTBUS_TRANSPORT_ID, size) == 0 ? &kTransport : NULL;
}

static const postbus_option kGreeting = {.size = sizeof(postbus_option),
                                         .type = POSTBUS_OPTION_STRING,
                                         .name = POSTBUS_STR("greeting"),
                                         .default_value = POSTBUS_STR("hello"),
                                         .description = POSTBUS_STR("What is logged at the start.")};
static const postbus_option* const kOptions[] = {&kGreeting};

const postbus_entry postbus_plugin_entry = {.magic = POSTBUS_ABI_MAGIC,
                                            .size = sizeof(postbus_entry),
                                            .abi_major = POSTBUS_ABI_MAJOR,
                                            .abi_minor = POSTBUS_ABI_MINOR,
                                            .kind = POSTBUS_KIND_TRANSPORT,
                                            .id = POSTBUS_STR("acme"),
                                            .version = POSTBUS_STR("1.0.0"),
                                            .summary = POSTBUS_STR("Accepts every mail and forgets it."),
                                            .options = kOptions,
                                            .n_options = 1,
                                            .get = Get};
