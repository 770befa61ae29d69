/* Writes no part. */
#define TEXT ""
#include "sound_renderer.h"
