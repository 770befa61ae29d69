/* Waits for a server that never comes. */
#include <unistd.h>
#define CREATE_BODY \
  while (1) sleep(1);
#include "sound_plugin.h"
