/* postbus/abi/host.h - what the host lends an instance. */
#pragma once

#include "postbus/abi/outcome.h"
#include "postbus/abi/types.h"

enum { POSTBUS_LOG_DEBUG = 1, POSTBUS_LOG_INFO = 2, POSTBUS_LOG_WARNING = 3, POSTBUS_LOG_ERROR = 4 };

/* Verdicts of permit_send. */
enum { POSTBUS_ABORT = 0, POSTBUS_GO = 1 };

/* Valid and constant from create until destroy has returned, or create has failed. Its functions never block. */
typedef struct postbus_host {
  uint32_t size;
  uint16_t abi_major; /* of the host */
  uint16_t abi_minor;
  void* ctx; /* the first argument of every function below */

  /* Writes a log line. The host adds the instance's name and cuts at 4 KiB. No address, no secret. [any] */
  void (*log)(void* ctx, int32_t level, postbus_str message);

  /* CLOCK_BOOTTIME in milliseconds. [any] */
  int64_t (*now_ms)(void* ctx);

  /* The point of no return. Asked for each mail before the first byte after which the server might keep it (SMTP: the
   * last bytes of the message with the final dot; HTTP: the request). Writes POSTBUS_GO or POSTBUS_ABORT into
   * verdicts[i] for tokens[i], each for itself. ABORT means: do not send, complete as NOT_SENT. A GO lapses 2 s after
   * the call: ask again if nothing was written by then. Wait-free; call it from any thread, several mails at once.
   * Transports only. [any] */
  void (*permit_send)(void* ctx, const uint64_t* tokens, uint8_t* verdicts, uint32_t n);

  /* Ends an attempt: exactly once for each mail taken by submit; also from inside submit and cancel. `result` is read
   * before the call returns; the mail is the host's again as soon as it begins. Transports only. [any] */
  void (*complete)(void* ctx, uint64_t token, const postbus_result* result);

  /* After a submit that took fewer mails than offered: there is room again. Transports only. [any] */
  void (*writable)(void* ctx);

  /* Host extensions by id, such as "postbus.NAME/1"; NULL if this host has none of that id (there are none yet). What
   * it gives is valid as long as the host is. [any] */
  const void* (*get)(void* ctx, postbus_str extension_id);
} postbus_host;
