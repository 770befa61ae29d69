/* postbus/abi/types.h - the few types everything else is made of.
 *
 * Conventions of the whole ABI, stated once:
 *  1. Plugins are trusted code: they run in the host's process with its privileges.
 *  2. Every struct that can grow has a `size`, set by whoever allocates it to sizeof; the other side touches only
 *     fields inside it (POSTBUS_SIZE_WITH). What 1.0 has is always there. Structs grow at the end; arrays of such
 *     structs are arrays of pointers. A struct without `size` never changes.
 *  3. Nothing changes owner. Inputs are views, valid until the call returns unless a function says longer; outputs are
 *     written into a sink the caller lends. There is no free function.
 *  4. Text is UTF-8, pointer and length, not NUL-terminated. {NULL, 0} is the empty text; an array of none may be NULL.
 *  5. `reserved` fields and the bits of flags and caps that have no name are 0. Numbers and bits of a later minor are
 *     used where host->abi_minor says that the host knows them.
 *  6. No C++ exception crosses. No signals, fork, setlocale, chdir, atexit, and no threads or work in ELF constructors.
 *  7. Every function carries a tag: the thread it is called on and the state it may be called in.
 *       [control]      one such call at a time on an instance, not always from the same thread; may block
 *       [any]          any thread, several at a time, also while a [control] call other than create or destroy runs
 *       [open]         after create has returned POSTBUS_OK and before destroy begins
 *     The host's functions may be called from inside the plugin's.
 *  8. Times are milliseconds of CLOCK_BOOTTIME (host->now_ms) unless a name says `unix`.
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

/* The least `size` of a struct that has `field`. Before touching one that is newer than 1.0:
 *   if (host->size >= POSTBUS_SIZE_WITH(postbus_host, newer)) host->newer(host->ctx); */
#define POSTBUS_SIZE_WITH(type, field) (offsetof(type, field) + sizeof(((type*)0)->field))

/* Where a callee writes bytes for its caller. Lent for the duration of the call, and to the thread that was called. */
typedef struct postbus_sink {
  uint32_t size;
  uint32_t reserved;
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
