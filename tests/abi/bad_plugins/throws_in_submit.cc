/* Something that is no std::exception leaves submit. */
#define SUBMIT_BODY \
  if (n > 0) throw 42;
#include "sound_plugin.h"
