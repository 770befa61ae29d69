#include "host/idempotency_key.h"

#include <charconv>

namespace postbus {

std::string_view IdempotencyKey(std::string_view id, RecipientSet due, size_t n_recipients, int replay,
                                std::string& storage) {
  if (replay == 0 && due == RecipientSet::All(n_recipients)) return id;
  char bits[16];
  const auto [end, error] = std::to_chars(bits, bits + sizeof bits, due.bits, 16);
  storage.assign(id).append("/").append(std::to_string(replay)).append("/").append(bits, end);
  return storage;
}

}  // namespace postbus
