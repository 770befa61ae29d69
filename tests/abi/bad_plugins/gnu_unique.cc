// An inline static that any plugin with a class of this name would share: linked without the SDK's version script.
struct Shared {
  static inline int counter = 0;
};
#define AFTER_CREATE ++Shared::counter;
#include "sound_plugin.h"
