/* Looks at an option's value when create has returned: the view is gone by then. */
#define INSTANCE_MEMBERS const postbus_value* port;
#define AFTER_CREATE (*out)->port = options->values[0];
#define SUBMIT_BODY \
  if (self->port->integer == 0) return 0;
#include "sound_plugin.h"
