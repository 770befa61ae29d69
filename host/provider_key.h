// host/provider_key.h - the key under which a provider that has such keys knows an attempt again. Pure function.
#pragma once

#include <charconv>
#include <string>
#include <string_view>

#include "queue/event_headers.h"

namespace postbus {

// The same for every attempt of an email to the same of its recipients; another one for others of them, who would get
// nothing by a key that is used up, and after a replay. The id alone where it is the first time to all; else with what
// is in no id: "ID/REPLAY/RECIPIENTS" (bits, hexadecimal), written to `storage`.
inline std::string_view ProviderKey(std::string_view id, RecipientSet recipients, size_t all, int replay,
                                    std::string& storage) {
  if (replay == 0 && recipients == RecipientSet::All(all)) return id;
  char digits[16];
  const auto [end, error] = std::to_chars(digits, digits + sizeof digits, recipients.bits, 16);
  storage.assign(id).append("/").append(std::to_string(replay)).append("/").append(digits, end);
  return storage;
}

}  // namespace postbus
