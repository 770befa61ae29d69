/* Its probe fails without a word. */
#define PROBE_BODY \
  if (deadline_ms != 0) return POSTBUS_ERROR;
#include "sound_plugin.h"
