/* Has a bit in its caps that means nothing yet. */
#define CAPS (1u << 31)
#include "sound_plugin.h"
