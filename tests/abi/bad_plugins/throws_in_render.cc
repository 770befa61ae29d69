/* An exception leaves render and list. */
#include <stdexcept>

#define RENDER_BODY       \
  Write(subject, "half"); \
  if (data.size != 0) throw std::runtime_error("no such cache");
#define LIST_BODY \
  if (self != nullptr) throw 42;
#include "sound_renderer.h"
