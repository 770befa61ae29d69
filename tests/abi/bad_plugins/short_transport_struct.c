/* The transport table is shorter than its version says. */
#define TRANSPORT_SIZE 40
#include "sound_plugin.h"
