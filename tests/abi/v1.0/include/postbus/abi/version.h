/* postbus/abi/version.h - the version of the plugin ABI. The build reads the SDK's version from this file. */
#pragma once

#define POSTBUS_ABI_MAGIC 0x53554250u /* "PBUS", little-endian */
#define POSTBUS_ABI_MAJOR 1
#define POSTBUS_ABI_MINOR 0
/* Host and plugin must agree in the major. A minor only adds, at the ends of structs and as new numbers and ids, so
 * either side may be the newer one. */
