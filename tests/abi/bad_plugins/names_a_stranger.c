/* Gives a result for a recipient that the mail does not have. */
#define SUBMIT_BODY                                                \
  postbus_recipient_result stranger;                               \
  memset(&stranger, 0, sizeof stranger);                           \
  stranger.size = sizeof stranger;                                 \
  stranger.recipient = 1000;                                       \
  stranger.outcome = POSTBUS_REJECTED_RECIPIENT;                   \
  const postbus_recipient_result* strangers[] = {&stranger};       \
  postbus_result result;                                           \
  memset(&result, 0, sizeof result);                               \
  result.size = sizeof result;                                     \
  result.outcome = POSTBUS_NOT_SENT;                               \
  result.recipients = strangers;                                   \
  result.n_recipients = 1;                                         \
  self->host->complete(self->host->ctx, mails[0]->token, &result); \
  if (n > 0) return 1;
#include "sound_plugin.h"
