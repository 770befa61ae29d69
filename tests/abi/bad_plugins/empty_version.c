/* It has no version. */
#define VERSION ""
#include "sound_plugin.h"
