/* Renders other bytes each time. */
#define RENDER_BODY              \
  static char counter;           \
  counter = (char)(counter + 1); \
  if (Has(data, "\"Link\"")) subject->write(subject->ctx, &counter, 1);
#include "sound_renderer.h"
