// cli/admin_client.h - asks a running postbus on its admin port.
#pragma once

#include <string>
#include <string_view>

#include "event/status.h"
#include "host/config.h"

namespace postbus {

// POSTs a JSON body and returns the answer's body; blocks, some seconds at most. kUnavailable: nobody listens there, or
// no answer came; kInvalid: refused, with the answer's words.
Result<std::string> PostToAdmin(const ListenConfig& admin, std::string_view path, std::string_view json);

// Somebody does.
bool AdminListens(const ListenConfig& admin);

}  // namespace postbus
