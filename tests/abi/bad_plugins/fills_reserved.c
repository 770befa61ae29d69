/* Keeps something of its own where a later minor will have a field. */
#define RESERVED 42
#include "sound_plugin.h"
