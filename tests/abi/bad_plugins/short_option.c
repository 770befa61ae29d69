/* An option is shorter than its version says. */
#define OPTION_SIZE 64
#include "sound_plugin.h"
