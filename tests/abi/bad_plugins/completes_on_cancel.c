/* Completes what it is to cancel, although it was completed before. */
#define CANCEL_BODY \
  for (uint32_t i = 0; i < n; ++i) CompleteAs(self, tokens[i], POSTBUS_NOT_SENT);
#include "sound_plugin.h"
