/* A transport of ABI 1.0 in C, with a thread: writes each mail into the directory it is configured with. */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "postbus/abi.h"

enum { kRoom = 8 };

struct postbus_instance {
  const postbus_host* host;
  char* directory;
  pthread_t thread;
  pthread_mutex_t mutex; /* guards all below */
  pthread_cond_t changed;
  const postbus_mail* waiting[kRoom];
  uint32_t n_waiting;
  uint32_t n_outstanding;
  int took_fewer;
  int ending;
};

static int WriteMail(const char* directory, const postbus_mail* mail) {
  char path[4096];
  snprintf(path, sizeof path, "%s/%.*s.eml", directory, (int)mail->event_id.size, mail->event_id.data);
  FILE* const file = fopen(path, "w");
  if (file == NULL) return 0;
  const size_t written = fwrite(mail->raw.data, 1, mail->raw.size, file);
  return fclose(file) == 0 && written == mail->raw.size;
}

static void Complete(postbus_instance* self, uint64_t token, int32_t outcome, postbus_str text) {
  const postbus_result result = {.size = sizeof result, .outcome = outcome, .text = text, .provider_id = text};
  self->host->complete(self->host->ctx, token, &result);
  pthread_mutex_lock(&self->mutex);
  --self->n_outstanding;
  pthread_mutex_unlock(&self->mutex);
}

static void Attempt(postbus_instance* self, const postbus_mail* mail) {
  uint8_t verdict = POSTBUS_ABORT;
  if (self->host->now_ms(self->host->ctx) < mail->deadline_ms) {
    self->host->permit_send(self->host->ctx, &mail->token, &verdict, 1);
  }
  if (verdict != POSTBUS_GO) {
    Complete(self, mail->token, POSTBUS_NOT_SENT, (postbus_str)POSTBUS_STR("not permitted, or too late"));
  } else if (WriteMail(self->directory, mail)) {
    Complete(self, mail->token, POSTBUS_ACCEPTED, (postbus_str)POSTBUS_STR("written"));
  } else {
    Complete(self, mail->token, POSTBUS_PROVIDER_FAULT, (postbus_str)POSTBUS_STR("it cannot be written"));
  }
}

static void* Work(void* argument) {
  postbus_instance* const self = argument;
  pthread_mutex_lock(&self->mutex);
  for (;;) {
    while (self->n_waiting == 0 && !self->ending) pthread_cond_wait(&self->changed, &self->mutex);
    if (self->n_waiting == 0) break;
    const postbus_mail* const mail = self->waiting[0];
    memmove(self->waiting, self->waiting + 1, --self->n_waiting * sizeof self->waiting[0]);
    const int tell = self->took_fewer;
    self->took_fewer = 0;
    pthread_mutex_unlock(&self->mutex);
    if (tell) self->host->writable(self->host->ctx);
    Attempt(self, mail);
    pthread_mutex_lock(&self->mutex);
  }
  pthread_mutex_unlock(&self->mutex);
  return NULL;
}

static int32_t Create(const postbus_host* host, const postbus_options* options, postbus_instance** out,
                      const postbus_sink* error) {
  postbus_instance* const self = calloc(1, sizeof *self);
  if (self != NULL) {
    self->host = host;
    self->directory = strndup(options->values[0]->string.data, options->values[0]->string.size);
    pthread_mutex_init(&self->mutex, NULL);
    pthread_cond_init(&self->changed, NULL);
    if (self->directory != NULL && pthread_create(&self->thread, NULL, Work, self) == 0) {
      *out = self;
      return POSTBUS_OK;
    }
    free(self->directory);
    free(self);
  }
  const char sentence[] = "there is no memory or no thread to be had";
  error->write(error->ctx, sentence, sizeof sentence - 1);
  return POSTBUS_ERROR;
}

static int32_t Probe(postbus_instance* self, int64_t deadline_ms, const postbus_sink* report) {
  (void)self;
  (void)deadline_ms;
  (void)report;
  return POSTBUS_OK;
}

static uint32_t Submit(postbus_instance* self, const postbus_mail* const* mails, uint32_t n) {
  pthread_mutex_lock(&self->mutex);
  uint32_t taken = 0;
  while (taken < n && self->n_waiting < kRoom) self->waiting[self->n_waiting++] = mails[taken++];
  self->n_outstanding += taken;
  if (taken < n) self->took_fewer = 1;
  pthread_cond_signal(&self->changed);
  pthread_mutex_unlock(&self->mutex);
  return taken;
}

static void Cancel(postbus_instance* self, const uint64_t* tokens, uint32_t n) {
  for (uint32_t i = 0; i < n; ++i) {
    int found = 0;
    pthread_mutex_lock(&self->mutex);
    for (uint32_t at = 0; at < self->n_waiting && !found; ++at) {
      found = self->waiting[at]->token == tokens[i];
      if (found)
        memmove(&self->waiting[at], &self->waiting[at + 1], (--self->n_waiting - at) * sizeof self->waiting[0]);
    }
    const int tell = found && self->took_fewer;
    if (tell) self->took_fewer = 0;
    pthread_mutex_unlock(&self->mutex);
    if (found) Complete(self, tokens[i], POSTBUS_NOT_SENT, (postbus_str)POSTBUS_STR("cancelled"));
    if (tell) self->host->writable(self->host->ctx);
  }
}

/* A file is written at once: all are done long before any deadline. */
static void Quiesce(postbus_instance* self, int64_t deadline_ms) {
  (void)self;
  (void)deadline_ms;
}

static uint32_t Outstanding(postbus_instance* self) {
  pthread_mutex_lock(&self->mutex);
  const uint32_t outstanding = self->n_outstanding;
  pthread_mutex_unlock(&self->mutex);
  return outstanding;
}

static void Destroy(postbus_instance* self) {
  pthread_mutex_lock(&self->mutex);
  self->ending = 1;
  pthread_cond_signal(&self->changed);
  pthread_mutex_unlock(&self->mutex);
  pthread_join(self->thread, NULL);
  pthread_cond_destroy(&self->changed);
  pthread_mutex_destroy(&self->mutex);
  free(self->directory);
  free(self);
}

static const postbus_transport kTransport = {.size = sizeof(postbus_transport),
                                             .caps = POSTBUS_TRANSPORT_WANTS_RAW | POSTBUS_TRANSPORT_TEST_ONLY,
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

static const postbus_option kDirectory = {.size = sizeof(postbus_option),
                                          .type = POSTBUS_OPTION_PATH,
                                          .flags = POSTBUS_OPTION_REQUIRED,
                                          .name = POSTBUS_STR("directory"),
                                          .description = POSTBUS_STR("Where the mails are written.")};
static const postbus_option* const kOptions[] = {&kDirectory};

const postbus_entry postbus_plugin_entry = {.magic = POSTBUS_ABI_MAGIC,
                                            .size = sizeof(postbus_entry),
                                            .abi_major = POSTBUS_ABI_MAJOR,
                                            .abi_minor = POSTBUS_ABI_MINOR,
                                            .kind = POSTBUS_KIND_TRANSPORT,
                                            .id = POSTBUS_STR("kept-c"),
                                            .version = POSTBUS_STR("1.0.0"),
                                            .summary = POSTBUS_STR("Writes mails into a directory."),
                                            .options = kOptions,
                                            .n_options = 1,
                                            .get = Get};
