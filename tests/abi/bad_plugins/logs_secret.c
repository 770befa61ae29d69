/* Logs its API key. */
#define OPTION_TYPE POSTBUS_OPTION_STRING
#define OPTION_NAME "api_key"
#define OPTION_DEFAULT ""
#define OPTION_FLAGS POSTBUS_OPTION_SECRET | POSTBUS_OPTION_REQUIRED
#define CREATE_BODY host->log(host->ctx, POSTBUS_LOG_INFO, options->values[0]->string);
#include "sound_plugin.h"
