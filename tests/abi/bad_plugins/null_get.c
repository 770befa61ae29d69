/* The entry has no get. */
#define GET NULL
#include "sound_plugin.h"
