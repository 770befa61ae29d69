/* A renderer of ABI 1.0 in C: template "hello" greets with the data, "note" has no html. Both want the variable Name.
 */
#include <string.h>

#include "postbus/abi.h"

struct postbus_instance {
  char nothing;
};

static postbus_instance instance;

static void Write(const postbus_sink* sink, const char* text) { sink->write(sink->ctx, text, strlen(text)); }

static int Is(postbus_str text, const char* word) {
  return text.size == strlen(word) && memcmp(text.data, word, text.size) == 0;
}

static int Names(postbus_str data, const char* variable) {
  const size_t size = strlen(variable);
  for (size_t i = 0; i + size <= data.size; ++i) {
    if (memcmp(data.data + i, variable, size) == 0) return 1;
  }
  return 0;
}

static int32_t Create(const postbus_host* host, const postbus_options* options, postbus_instance** out,
                      const postbus_sink* error) {
  (void)options;
  (void)error;
  host->log(host->ctx, POSTBUS_LOG_DEBUG, (postbus_str)POSTBUS_STR("two templates"));
  *out = &instance;
  return POSTBUS_OK;
}

static int32_t Render(postbus_instance* self, const postbus_render_input* input, const postbus_render_output* output) {
  const postbus_str data = input->data;
  (void)self;
  if (!Is(input->name, "hello") && !Is(input->name, "note")) {
    Write(output->error, "there are hello and note");
    return POSTBUS_RENDER_UNKNOWN_TEMPLATE;
  }
  if (data.size < 2 || data.data[0] != '{' || data.data[data.size - 1] != '}') {
    Write(output->error, "the data is no object");
    return POSTBUS_RENDER_INVALID_DATA;
  }
  if (!Names(data, "\"Name\"")) {
    Write(output->error, "/Name is missing");
    return POSTBUS_RENDER_MISSING_VARIABLE;
  }
  Write(output->subject, "Hello from 1.0");
  output->text->write(output->text->ctx, data.data, data.size);
  if (Is(input->name, "hello")) Write(output->html, "<p>Hello from 1.0</p>");
  return POSTBUS_RENDER_OK;
}

static void List(postbus_instance* self, const postbus_sink* names) {
  (void)self;
  Write(names, "hello");
  Write(names, "note");
}

static void Destroy(postbus_instance* self) { (void)self; }

static const postbus_renderer kRenderer = {
    .size = sizeof(postbus_renderer), .create = Create, .render = Render, .list = List, .destroy = Destroy};

static const void* Get(postbus_str id) { return Is(id, POSTBUS_RENDERER_ID) ? &kRenderer : NULL; }

const postbus_entry postbus_plugin_entry = {.magic = POSTBUS_ABI_MAGIC,
                                            .size = sizeof(postbus_entry),
                                            .abi_major = POSTBUS_ABI_MAJOR,
                                            .abi_minor = POSTBUS_ABI_MINOR,
                                            .kind = POSTBUS_KIND_RENDERER,
                                            .id = POSTBUS_STR("kept"),
                                            .version = POSTBUS_STR("1.0.0"),
                                            .summary = POSTBUS_STR("Greets."),
                                            .get = Get};
