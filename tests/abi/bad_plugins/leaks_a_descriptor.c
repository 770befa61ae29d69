/* Leaves a file open with each life. */
#include <fcntl.h>
#define AFTER_CREATE \
  if (open("/dev/null", O_RDONLY) < 0) return POSTBUS_ERROR;
#include "sound_plugin.h"
