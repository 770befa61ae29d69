/* Built against another minor version: while the major is 0 that does not fit either. */
#define ABI_MINOR (POSTBUS_ABI_MINOR + 1)
#include "sound_plugin.h"
