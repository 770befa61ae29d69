/* Looks at a mail after its complete: the host may have given its memory to another. */
#define SUBMIT_BODY                                    \
  CompleteAs(self, mails[0]->token, POSTBUS_NOT_SENT); \
  if (mails[0]->n_recipients > 0) return 1;
#include "sound_plugin.h"
