/* create refuses and says nothing. */
#define CREATE_BODY \
  if (host != NULL) return POSTBUS_ERROR;
#include "sound_plugin.h"
