/* Logs whom a mail is for. */
#define SUBMIT_BODY self->host->log(self->host->ctx, POSTBUS_LOG_INFO, mails[0]->recipients[0]);
#include "sound_plugin.h"
