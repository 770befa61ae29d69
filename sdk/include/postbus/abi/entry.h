/* postbus/abi/entry.h - the one symbol a plugin exports. */
#pragma once

#include "postbus/abi/option.h"
#include "postbus/abi/types.h"
#include "postbus/abi/version.h"

enum { POSTBUS_KIND_TRANSPORT = 1, POSTBUS_KIND_RENDERER = 2 };

/* Constant data, readable without calling anything. The first 12 bytes are the same in every major, for ever. */
typedef struct postbus_entry {
  uint32_t magic; /* POSTBUS_ABI_MAGIC */
  uint32_t size;  /* sizeof(postbus_entry) as the plugin was compiled */
  uint16_t abi_major;
  uint16_t abi_minor;
  uint32_t kind;
  postbus_str id;      /* noun of the protocol or service: "smtp", "mailtrap" */
  postbus_str version; /* of the plugin */
  postbus_str summary; /* one sentence */
  const postbus_option* const* options;
  uint32_t n_options;
  uint32_t reserved;

  /* The plugin's tables by id (POSTBUS_TRANSPORT_ID, POSTBUS_RENDERER_ID, later ones), constant data; NULL for an
   * unknown id. Called before create, too. [any] */
  const void* (*get)(postbus_str extension_id);
} postbus_entry;

#ifdef __cplusplus
extern "C" {
#endif
/* The symbol. Defined by the plugin as a constant. */
extern __attribute__((visibility("default"))) const postbus_entry postbus_plugin_entry;
#ifdef __cplusplus
}
#endif
