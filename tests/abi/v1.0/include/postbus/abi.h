/* postbus/abi.h - the whole plugin ABI, C11. Start at postbus/abi/types.h, which states its conventions. */
#pragma once

#include "postbus/abi/entry.h"
#include "postbus/abi/host.h"
#include "postbus/abi/mail.h"
#include "postbus/abi/option.h"
#include "postbus/abi/outcome.h"
#include "postbus/abi/renderer.h"
#include "postbus/abi/transport.h"
#include "postbus/abi/types.h"
#include "postbus/abi/version.h"
