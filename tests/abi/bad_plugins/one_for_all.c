/* Has one state for all instances: the end of one is the end of the others. */
static int alive;
#define AFTER_CREATE alive = 1;
#define SUBMIT_BODY \
  if (!alive) abort();
#define DESTROY_BODY alive = 0;
#include "sound_plugin.h"
