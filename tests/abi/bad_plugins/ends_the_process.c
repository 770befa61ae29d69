/* Calls exit when it does not know what to do. */
#define SUBMIT_BODY exit(3);
#include "sound_plugin.h"
