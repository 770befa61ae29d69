/* The option table has a hole. */
#define OPTIONS &kPort, NULL
#include "sound_plugin.h"
