/* postbus/abi/option.h - what a plugin can be configured with. The table is the one source for parsing, unknown-key
 * errors, `postbus plugins show`, the generated documentation and the JSON Schema. */
#pragma once

#include "postbus/abi/types.h"

enum {
  POSTBUS_OPTION_STRING = 1,
  POSTBUS_OPTION_INTEGER = 2,  /* value in `integer` */
  POSTBUS_OPTION_BOOLEAN = 3,  /* `integer` 0 or 1 */
  POSTBUS_OPTION_DURATION = 4, /* written `30s`; milliseconds in `integer` */
  POSTBUS_OPTION_SIZE = 5,     /* written `10MiB`; bytes in `integer` */
  POSTBUS_OPTION_ENUM = 6,     /* one of `choices`, in `string` */
  POSTBUS_OPTION_PATH = 7,     /* a path, made absolute against the configuration file, in `string` */
  POSTBUS_OPTION_LIST = 8      /* a sequence of strings, in `items`; the default is empty */
};

enum {
  POSTBUS_OPTION_REQUIRED = 1 << 0, /* no default; missing is an error */
  POSTBUS_OPTION_SECRET = 1 << 1    /* never printed */
};

/* One line of the table. Constant. */
typedef struct postbus_option {
  uint32_t size;
  uint32_t type;
  uint32_t flags;
  uint32_t reserved;
  postbus_str name;          /* snake_case noun, at most 64 bytes, with its unit as suffix where the type has none */
  postbus_str default_value; /* as it would be written in YAML */
  postbus_str choices;       /* ENUM: separated by `|` */
  postbus_str unit;          /* INTEGER: what it counts, e.g. "connections"; else empty */
  int64_t minimum;           /* INTEGER, DURATION, SIZE: inclusive bounds; both 0 = unbounded */
  int64_t maximum;
  postbus_str description; /* one sentence */
} postbus_option;

/* The parsed value of one option: checked by the host against the table. */
typedef struct postbus_value {
  uint32_t size;
  uint32_t is_default; /* 1 where the configuration did not name it */
  int64_t integer;
  postbus_str string;
  const postbus_str* items;
  uint32_t n_items;
  uint32_t reserved;
} postbus_value;

/* values[i] belongs to the i-th entry of the plugin's option table. Valid until `create` returns. */
typedef struct postbus_options {
  uint32_t size;
  uint32_t n_values;
  const postbus_value* const* values;
} postbus_options;
