/* Counts on its data being an object. */
#define RENDER_BODY \
  if (data.size == 0) *(volatile int*)NULL = 0;
#include "sound_renderer.h"
