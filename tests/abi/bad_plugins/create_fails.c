/* create refuses, with a sentence. */
#define CREATE_BODY                                                        \
  error->write(error->ctx, "the port is taken; choose another one\n", 38); \
  if (host != NULL) return POSTBUS_ERROR;
#include "sound_plugin.h"
