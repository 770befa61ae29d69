/* Calls the host with null pointers wherever there is one. */
#define SUBMIT_BODY                                                          \
  const postbus_host* const host = self->host;                               \
  host->log(NULL, POSTBUS_LOG_ERROR, (postbus_str){NULL, 0});                \
  host->log(host->ctx, 99, (postbus_str){NULL, 7});                          \
  host->permit_send(NULL, NULL, NULL, 3);                                    \
  uint8_t verdicts[2] = {POSTBUS_GO, POSTBUS_GO};                            \
  host->permit_send(host->ctx, NULL, verdicts, 2);                           \
  if (verdicts[0] != POSTBUS_ABORT || verdicts[1] != POSTBUS_ABORT) abort(); \
  host->complete(NULL, 1, NULL);                                             \
  host->writable(NULL);                                                      \
  if (host->get(host->ctx, (postbus_str){NULL, 0}) != NULL) abort();
#include "sound_plugin.h"
