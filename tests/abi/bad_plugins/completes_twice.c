/* Each mail is completed twice: accepted, then rejected. */
#define SUBMIT_BODY                                                \
  for (uint32_t i = 0; i < n; ++i) {                               \
    const uint64_t token = mails[i]->token;                        \
    uint8_t verdict;                                               \
    self->host->permit_send(self->host->ctx, &token, &verdict, 1); \
    CompleteAs(self, token, POSTBUS_ACCEPTED);                     \
    CompleteAs(self, token, POSTBUS_REJECTED_MESSAGE);             \
  }                                                                \
  if (n > 0) return n;
#include "sound_plugin.h"
