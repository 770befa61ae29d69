/* postbus/abi/types.h - the few types everything else is made of.
 *
 * Conventions of the whole ABI, stated once:
 *  1. Plugins are trusted code: they run in the host's process with its privileges.
 *  2. Every struct that can grow starts with `size`, set by whoever allocates it to sizeof; the other side touches
 *     only fields inside it. Structs grow at the end; arrays of such structs are arrays of pointers.
 *  3. Nothing changes owner. Inputs are views, valid until the call returns unless a function says longer; outputs are
 *     written into a sink the caller lends. There is no free function.
 *  4. Text is UTF-8, pointer and length, not NUL-terminated. {NULL, 0} is the empty text.
 *  5. No C++ exception crosses. No signals, fork, setlocale, chdir, atexit, and no threads or work in ELF constructors.
 *  6. Every function carries a tag: the thread it is called on and the state it may be called in.
 *       [control]      the host's control thread; never two calls at a time on one instance
 *       [any]          any thread, several at a time
 *       [open]         after create and before destroy
 *  7. Times are milliseconds of CLOCK_BOOTTIME (host->now_ms) unless a name says `unix`.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* A view of text or bytes. */
typedef struct postbus_str {
  const char* data;
  size_t size;
} postbus_str;

/* A postbus_str of a string literal, for static tables. */
#define POSTBUS_STR(literal) \
  { ("" literal), sizeof(literal) - 1 }

/* Where a callee writes bytes for its caller. Lent for the duration of the call. */
typedef struct postbus_sink {
  uint32_t size;
  void* ctx;
  /* Appends `n` bytes. The host may cap what it keeps (error texts: 4 KiB). */
  void (*write)(void* ctx, const char* data, size_t n);
} postbus_sink;

/* One instance of a transport or renderer; the plugin defines what it is. */
typedef struct postbus_instance postbus_instance;

/* Results of functions that return int32_t. */
enum {
  POSTBUS_OK = 0,
  POSTBUS_ERROR = 1 /* the reason is in the error sink */
};
