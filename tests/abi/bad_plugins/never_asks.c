/* Sends without asking. */
#define SUBMIT_BODY                                                                     \
  for (uint32_t i = 0; i < n; ++i) CompleteAs(self, mails[i]->token, POSTBUS_ACCEPTED); \
  if (n > 0) return n;
#include "sound_plugin.h"
