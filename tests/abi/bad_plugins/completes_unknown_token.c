/* Completes a mail nobody gave it, before the ones it has. */
#define SUBMIT_BODY CompleteAs(self, 0xdeadbeefu, POSTBUS_ACCEPTED);
#include "sound_plugin.h"
