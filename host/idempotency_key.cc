#include "host/idempotency_key.h"

namespace postbus {

std::string IdempotencyKey(std::string_view id, RecipientSet due, size_t n_recipients, int replay) {
  std::string key(id);
  if (due != RecipientSet::All(n_recipients)) key += "~to" + std::to_string(due.bits);
  if (replay > 0) key += "~replay" + std::to_string(replay);
  return key;
}

}  // namespace postbus
