/* Results no host can read: no result, an unknown outcome, a short one, a text that is not there, a text of 1 MiB, and
 * recipients that are not there. The n-th mail gets the n-th. */
#define SUBMIT_BODY                                                                  \
  static char long_text[1 << 20];                                                    \
  memset(long_text, 'x', sizeof long_text);                                          \
  for (uint32_t i = 0; i < n; ++i) {                                                 \
    postbus_result result;                                                           \
    memset(&result, 0, sizeof result);                                               \
    result.size = sizeof result;                                                     \
    result.outcome = POSTBUS_ACCEPTED;                                               \
    if (i == 1) result.outcome = 77;                                                 \
    if (i == 2) result.size = 8;                                                     \
    if (i == 3) result.text.size = 5;                                                \
    if (i == 4) result.text = (postbus_str){long_text, sizeof long_text};            \
    if (i == 5) result.n_recipients = 2;                                             \
    self->host->complete(self->host->ctx, mails[i]->token, i == 0 ? NULL : &result); \
  }                                                                                  \
  if (n > 0) return n;
#include "sound_plugin.h"
