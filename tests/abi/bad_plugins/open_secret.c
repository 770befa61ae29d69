/* A password that the host would print. */
#define OPTION_TYPE POSTBUS_OPTION_STRING
#define OPTION_NAME "password"
#define OPTION_DEFAULT ""
#include "sound_plugin.h"
