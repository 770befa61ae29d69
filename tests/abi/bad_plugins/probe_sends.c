/* Its probe ends a mail that nobody gave it. */
#define PROBE_BODY CompleteAs(self, 1, POSTBUS_ACCEPTED);
#include "sound_plugin.h"
