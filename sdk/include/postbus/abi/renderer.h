/* postbus/abi/renderer.h - extension "postbus.renderer/1": turns a template and data into subject, text and HTML. */
#pragma once

#include "postbus/abi/host.h"
#include "postbus/abi/option.h"

#define POSTBUS_RENDERER_ID "postbus.renderer/1"

/* Results of render; all but OK are permanent for this event and come with a sentence in `error`. */
enum {
  POSTBUS_RENDER_OK = 0,
  POSTBUS_RENDER_UNKNOWN_TEMPLATE = 1,
  POSTBUS_RENDER_MISSING_VARIABLE =
      2,                           /* `error`: the variable's name as a JSON pointer into data, a space, a sentence */
  POSTBUS_RENDER_INVALID_DATA = 3, /* data is not an object, or a value has a type the template cannot use */
  POSTBUS_RENDER_FAILED = 4        /* anything else; an unknown number counts as this */
};

/* What to render. */
typedef struct postbus_render_input {
  uint32_t size;
  uint32_t reserved;
  postbus_str name; /* of the template */
  postbus_str data; /* a JSON object (RFC 8259), unless whoever wrote it made a mistake */
} postbus_render_input;

/* Where it goes. What was written before another result than POSTBUS_RENDER_OK is thrown away, but for `error`. */
typedef struct postbus_render_output {
  uint32_t size;
  uint32_t reserved;
  const postbus_sink* subject; /* one line */
  const postbus_sink* text;
  const postbus_sink* html;
  const postbus_sink* error;
} postbus_render_output;

typedef struct postbus_renderer {
  uint32_t size;
  uint32_t caps; /* 0 */

  /* Makes an instance: reads and checks every template, so that render does no file I/O. A later change on disk is seen
   * by a new instance only. On POSTBUS_ERROR `*out` stays untouched and `error` has a sentence that says what, where
   * and what to do. Several instances may be alive. [control] */
  int32_t (*create)(const postbus_host* host, const postbus_options* options, postbus_instance** out,
                    const postbus_sink* error);

  /* A template without subject, text or html part leaves that sink empty. Re-entrant and pure: the same input gives the
   * same bytes. Returns within a second. [any & open] */
  int32_t (*render)(postbus_instance* self, const postbus_render_input* input, const postbus_render_output* output);

  /* Names of all templates, one write each, sorted by their bytes. [any & open] */
  void (*list)(postbus_instance* self, const postbus_sink* names);

  /* Ends the instance, when no other call on it is under way; none comes after. [control & open] */
  void (*destroy)(postbus_instance* self);
} postbus_renderer;
