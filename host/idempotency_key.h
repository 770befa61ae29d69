// host/idempotency_key.h - what a provider that honours idempotency keys is to know an attempt by. Pure.
#pragma once

#include <string>
#include <string_view>

#include "queue/event_headers.h"

namespace postbus {

// The same for each attempt to give the same mail to the same recipients; another where only some of them are left, or
// where somebody replays the mail: the provider would drop those as copies. The id where it is the first time for all;
// else with what is in no id, "ID/REPLAY/RECIPIENTS" (bits, hexadecimal), written to `storage`.
std::string_view IdempotencyKey(std::string_view id, RecipientSet due, size_t n_recipients, int replay,
                                std::string& storage);

}  // namespace postbus
