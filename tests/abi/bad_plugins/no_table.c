/* It says it is a renderer and has a transport's table only. */
#define KIND POSTBUS_KIND_RENDERER
#include "sound_plugin.h"
