/* Its quiesce waits. */
#include <unistd.h>
#define QUIESCE_BODY sleep(4);
#include "sound_plugin.h"
