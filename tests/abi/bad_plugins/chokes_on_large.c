/* Has room for 64 KiB of a mail. */
#define SUBMIT_BODY                                         \
  static char buffer[1 << 16];                              \
  for (uint32_t i = 0; i < n; ++i) {                        \
    if (mails[i]->raw.size > sizeof buffer) abort();        \
    memcpy(buffer, mails[i]->raw.data, mails[i]->raw.size); \
  }
#include "sound_plugin.h"
