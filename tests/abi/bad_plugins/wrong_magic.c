/* The symbol is there, but somebody else's. */
#define MAGIC 0x12345678u
#include "sound_plugin.h"
