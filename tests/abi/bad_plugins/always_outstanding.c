/* Its outstanding never comes down to 0. */
#define OUTSTANDING 1
#include "sound_plugin.h"
