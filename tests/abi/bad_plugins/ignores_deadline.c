/* Sends a mail after its deadline. */
#define SUBMIT_BODY                                                                                 \
  for (uint32_t i = 0; i < n; ++i) {                                                                \
    uint8_t verdict;                                                                                \
    self->host->permit_send(self->host->ctx, &mails[i]->token, &verdict, 1);                        \
    CompleteAs(self, mails[i]->token, verdict == POSTBUS_GO ? POSTBUS_ACCEPTED : POSTBUS_NOT_SENT); \
  }                                                                                                 \
  if (n > 0) return n;
#include "sound_plugin.h"
