/* postbus/abi/version.h - the version of the plugin ABI. The build reads the SDK's version from this file. */
#pragma once

#define POSTBUS_ABI_MAGIC 0x53554250u /* "PBUS", little-endian */
#define POSTBUS_ABI_MAJOR 0
#define POSTBUS_ABI_MINOR 2
/* While the major is 0 host and plugin must agree exactly, minor included. From 1.0 on: same major. */
