/* A default that is no value of its option. */
#define OPTION_DEFAULT "70000"
#include "sound_plugin.h"
