/* tests/abi/bad_plugins/sound_renderer.h - a whole renderer plugin without a fault: templates "letter" and "note",
 * which want the variable Link. Each bad renderer defines one of the macros, and so has exactly one sin. */
#pragma once

#include <string.h>

#include "postbus/abi.h"

#ifndef NAMES
#define NAMES "letter", "note"
#endif
#ifndef TEXT
#define TEXT "Hello"
#endif
#ifndef MISSING
#define MISSING "/Link the data has no Link"
#endif
#ifndef RENDER_BODY
#define RENDER_BODY
#endif
#ifndef LIST_BODY
#define LIST_BODY
#endif

struct postbus_instance {
  int nothing;
};

static postbus_instance instance;
static const char* const kNames[] = {NAMES};
enum { kNumberOfNames = sizeof kNames / sizeof kNames[0] };

static void Write(const postbus_sink* sink, const char* text) { sink->write(sink->ctx, text, strlen(text)); }

static int Has(postbus_str text, const char* word) {
  const size_t size = strlen(word);
  for (size_t i = 0; i + size <= text.size; ++i) {
    if (memcmp(text.data + i, word, size) == 0) return 1;
  }
  return 0;
}

static int32_t Create(const postbus_host* host, const postbus_options* options, postbus_instance** out,
                      const postbus_sink* error) {
  (void)host;
  (void)options;
  (void)error;
  *out = &instance;
  return POSTBUS_OK;
}

static inline int32_t Find(postbus_str name) {
  for (int i = 0; i < kNumberOfNames; ++i) {
    if (name.size == strlen(kNames[i]) && memcmp(name.data, kNames[i], name.size) == 0) return 1;
  }
  return 0;
}

static int32_t Render(postbus_instance* self, const postbus_render_input* input, const postbus_render_output* output) {
  const postbus_str name = input->name;
  const postbus_str data = input->data;
  const postbus_sink* const subject = output->subject;
  const postbus_sink* const error = output->error;
  (void)self;
  RENDER_BODY
  if (!Find(name)) {
    Write(error, "there is no such template");
    return POSTBUS_RENDER_UNKNOWN_TEMPLATE;
  }
  if (data.size < 2 || data.data[0] != '{' || data.data[data.size - 1] != '}') {
    Write(error, "the data is no object");
    return POSTBUS_RENDER_INVALID_DATA;
  }
  if (!Has(data, "\"Link\"")) {
    Write(error, MISSING);
    return POSTBUS_RENDER_MISSING_VARIABLE;
  }
  Write(subject, TEXT);
  return POSTBUS_RENDER_OK;
}

static void List(postbus_instance* self, const postbus_sink* names) {
  (void)self;
  LIST_BODY
  for (int i = 0; i < kNumberOfNames; ++i) Write(names, kNames[i]);
}

static void Destroy(postbus_instance* self) { (void)self; }

static const postbus_renderer kRenderer = {sizeof(postbus_renderer), 0, &Create, &Render, &List, &Destroy};

static const void* Get(postbus_str id) {
  return id.size == sizeof POSTBUS_RENDERER_ID - 1 && Has(id, POSTBUS_RENDERER_ID) ? &kRenderer : NULL;
}

const postbus_entry postbus_plugin_entry = {POSTBUS_ABI_MAGIC,
                                            sizeof(postbus_entry),
                                            POSTBUS_ABI_MAJOR,
                                            POSTBUS_ABI_MINOR,
                                            POSTBUS_KIND_RENDERER,
                                            POSTBUS_STR("bad"),
                                            POSTBUS_STR("1.0.0"),
                                            POSTBUS_STR("Has one fault."),
                                            NULL,
                                            0,
                                            0,
                                            &Get};
