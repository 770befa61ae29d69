/* postbus/abi/renderer.h - extension "postbus.renderer/0": turns a template and data into subject, text and HTML. */
#pragma once

#include "postbus/abi/host.h"
#include "postbus/abi/option.h"

#define POSTBUS_RENDERER_ID "postbus.renderer/0"

/* Results of render; all but OK are permanent for this event and come with a sentence in `error`. */
enum {
  POSTBUS_RENDER_OK = 0,
  POSTBUS_RENDER_UNKNOWN_TEMPLATE = 1,
  POSTBUS_RENDER_MISSING_VARIABLE =
      2,                           /* `error`: the variable's name as a JSON pointer into data, a space, a sentence */
  POSTBUS_RENDER_INVALID_DATA = 3, /* data is not an object, or a value has a type the template cannot use */
  POSTBUS_RENDER_FAILED = 4        /* anything else */
};

typedef struct postbus_renderer {
  uint32_t size;
  uint32_t caps; /* 0 */

  /* Makes an instance: reads and checks every template, so that render does no file I/O. A later change on disk is seen
   * by a new instance only. [control] */
  int32_t (*create)(const postbus_host* host, const postbus_options* options, postbus_instance** out,
                    const postbus_sink* error);

  /* Renders template `name` with the JSON object `data`. A template without subject, text or html part leaves that sink
   * empty. Re-entrant and pure: the same input gives the same bytes. Returns within a second. [any & open] */
  int32_t (*render)(postbus_instance* self, postbus_str name, postbus_str data, const postbus_sink* subject,
                    const postbus_sink* text, const postbus_sink* html, const postbus_sink* error);

  /* Names of all templates, one write each, sorted. [any & open] */
  void (*list)(postbus_instance* self, const postbus_sink* names);

  /* [control & open] */
  void (*destroy)(postbus_instance* self);
} postbus_renderer;
