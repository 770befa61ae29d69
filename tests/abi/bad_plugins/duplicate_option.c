/* Two options of one name. */
#define OPTIONS &kPort, &kPort
#include "sound_plugin.h"
