/* A function of the table is missing. */
#define SUBMIT NULL
#include "sound_plugin.h"
