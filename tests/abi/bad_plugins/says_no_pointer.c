/* Says that something is missing, and not what. */
#define MISSING "something is missing"
#include "sound_renderer.h"
