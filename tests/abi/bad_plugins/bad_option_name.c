/* An option that YAML readers would not recognise. */
#define OPTION_NAME "Server Port"
#include "sound_plugin.h"
