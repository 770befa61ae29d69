/* Its names are not sorted. */
#define NAMES "note", "letter"
#include "sound_renderer.h"
