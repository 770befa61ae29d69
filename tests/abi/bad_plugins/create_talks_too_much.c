/* create refuses with a megabyte of text. */
#define CREATE_BODY                                                                            \
  for (int i = 0; i < 1024 * 1024 / 16; ++i) error->write(error->ctx, "0123456789abcdef", 16); \
  if (host != NULL) return POSTBUS_ERROR;
#include "sound_plugin.h"
