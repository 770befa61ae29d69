/* It has no name. */
#define ID ""
#include "sound_plugin.h"
