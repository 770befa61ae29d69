/* Reads address 0. */
#define SUBMIT_BODY                         \
  const postbus_mail* volatile none = NULL; \
  if (none->token == 0) return 0;
#include "sound_plugin.h"
