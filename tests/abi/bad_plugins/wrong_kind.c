/* Neither transport nor renderer. */
#define KIND 7
#include "sound_plugin.h"
