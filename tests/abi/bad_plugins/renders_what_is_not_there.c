/* Renders templates that it does not have. */
#define RENDER_BODY           \
  if (!Find(name)) {          \
    Write(subject, "Hello");  \
    return POSTBUS_RENDER_OK; \
  }
#include "sound_renderer.h"
