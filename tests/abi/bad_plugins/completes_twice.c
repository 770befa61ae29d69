/* Each mail is completed twice: accepted, then rejected. */
#define SUBMIT_BODY                                              \
  for (uint32_t i = 0; i < n; ++i) {                             \
    CompleteAs(self, mails[i]->token, POSTBUS_ACCEPTED);         \
    CompleteAs(self, mails[i]->token, POSTBUS_REJECTED_MESSAGE); \
  }                                                              \
  if (n > 0) return n;
#include "sound_plugin.h"
