/* Has its table under every name. */
#include "postbus/abi.h"
static const void* GetAnything(postbus_str id);
#define GET &GetAnything
#include "sound_plugin.h"
static const void* GetAnything(postbus_str id) {
  (void)id;
  return &kTransport;
}
