/* Built against a later major version. */
#define ABI_MAJOR 2
#define ABI_MINOR 0
#include "sound_plugin.h"
