/* Its submit waits when there is much to do. */
#include <unistd.h>
#define SUBMIT_BODY \
  if (n > 100) sleep(4);
#include "sound_plugin.h"
