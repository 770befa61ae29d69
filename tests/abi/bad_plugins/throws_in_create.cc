/* An exception leaves create. */
#include <stdexcept>
#define CREATE_BODY \
  if (host != nullptr) throw std::runtime_error("no such relay");
#include "sound_plugin.h"
