/* An option has a flag that means nothing yet. */
#define OPTION_FLAGS (1u << 31)
#include "sound_plugin.h"
