/* create ends the process. */
#include <stdlib.h>

#define CREATE_BODY \
  if (host != NULL) abort();
#include "sound_plugin.h"
