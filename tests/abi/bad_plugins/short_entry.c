/* The entry is shorter than its version says. */
#define ENTRY_SIZE 40
#include "sound_plugin.h"
