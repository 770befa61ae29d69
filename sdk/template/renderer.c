/* Turns a template and data into a mail. TODO: your engine; this one knows a single template, "hello". */
#include <stdlib.h>
#include <string.h>

#include "postbus/abi.h"

struct postbus_instance {
  const postbus_host* host; /* valid until destroy has returned */
};

static void Write(const postbus_sink* sink, const char* text) { sink->write(sink->ctx, text, strlen(text)); }

static int Is(postbus_str text, const char* word) {
  return text.size == strlen(word) && memcmp(text.data, word, text.size) == 0;
}

/* TODO: read and check every template here, so that Render does no file I/O. */
static int32_t Create(const postbus_host* host, const postbus_options* options, postbus_instance** out,
                      const postbus_sink* error) {
  (void)options;
  postbus_instance* const self = malloc(sizeof *self);
  if (self == NULL) {
    Write(error, "there is no memory");
    return POSTBUS_ERROR;
  }
  self->host = host;
  *out = self;
  return POSTBUS_OK;
}

static int32_t Render(postbus_instance* self, const postbus_render_input* input, const postbus_render_output* output) {
  const postbus_str data = input->data;
  (void)self;
  if (!Is(input->name, "hello")) {
    Write(output->error, "there is no such template");
    return POSTBUS_RENDER_UNKNOWN_TEMPLATE;
  }
  if (data.size < 2 || data.data[0] != '{' || data.data[data.size - 1] != '}') { /* TODO: a JSON parser */
    Write(output->error, "the data is not a JSON object");
    return POSTBUS_RENDER_INVALID_DATA;
  }
  Write(output->subject, "Hello");
  Write(output->text, "Hello\n");
  return POSTBUS_RENDER_OK;
}

static void List(postbus_instance* self, const postbus_sink* names) {
  (void)self;
  Write(names, "hello");
}

static void Destroy(postbus_instance* self) { free(self); }

static const postbus_renderer kRenderer = {
    .size = sizeof(postbus_renderer), .caps = 0, .create = Create, .render = Render, .list = List, .destroy = Destroy};

static const void* Get(postbus_str id) { return Is(id, POSTBUS_RENDERER_ID) ? &kRenderer : NULL; }

const postbus_entry postbus_plugin_entry = {.magic = POSTBUS_ABI_MAGIC,
                                            .size = sizeof(postbus_entry),
                                            .abi_major = POSTBUS_ABI_MAJOR,
                                            .abi_minor = POSTBUS_ABI_MINOR,
                                            .kind = POSTBUS_KIND_RENDERER,
                                            .id = POSTBUS_STR("acme"),
                                            .version = POSTBUS_STR("0.1.0"),
                                            .summary = POSTBUS_STR("Renders one template, which says hello."),
                                            .options = NULL,
                                            .n_options = 0,
                                            .get = Get};
