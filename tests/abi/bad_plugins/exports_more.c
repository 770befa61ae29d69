/* Exports a function besides its entry: it is linked without the SDK's version script. */
__attribute__((visibility("default"))) int bad_helper(void);
int bad_helper(void) { return 0; }
#include "sound_plugin.h"
