/* Calls a function that no library has. */
void postbus_test_missing_function(void);
#define SUBMIT_BODY postbus_test_missing_function();
#include "sound_plugin.h"
