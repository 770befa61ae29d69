/* Takes mails and says no more. */
#define SUBMIT_BODY \
  if (n > 0) return n;
#include "sound_plugin.h"
