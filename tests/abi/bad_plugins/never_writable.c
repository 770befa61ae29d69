/* Takes one mail at a time and never calls writable. */
#define SUBMIT_BODY \
  if (n > 1) n = 1;
#include "sound_plugin.h"
