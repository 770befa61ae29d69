// api/idempotency.h - what the header Idempotency-Key fixes: the ids of a request's mails, and how its body is known
// again. Pure functions.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace postbus {

// 1 to 255 printable ASCII characters.
bool IsIdempotencyKey(std::string_view key);

// The id of the mail that is posted with `key`: its UUIDv5 (RFC 9562), the same on every host and in every version. It
// names the request, too.
std::string IdOfKey(std::string_view key);
// Of the mail at `index` in a batch: no other key or index has it.
std::string IdOfKey(std::string_view key, size_t index);

// SHA-256, 32 bytes.
std::string DigestOf(std::string_view body);

}  // namespace postbus
