/* create reports success without an instance. */
#define CREATE_BODY \
  if (host != NULL) return POSTBUS_OK;
#include "sound_plugin.h"
