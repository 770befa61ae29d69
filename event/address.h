// event/address.h - mailboxes: `a@b`, `Name <a@b>`, `"Na, me" <a@b>` (RFC 5322 3.4), checked so that no field can ever
// add a line or a command to an SMTP session. Pure functions and value types.
#pragma once

#include <string>
#include <string_view>

#include "event/status.h"

namespace postbus {

struct Mailbox {
  std::string name;     // display name, unquoted UTF-8; may be empty
  std::string address;  // addr-spec: local-part@domain

  std::string_view domain() const { return std::string_view(address).substr(address.rfind('@') + 1); }
  friend bool operator==(const Mailbox&, const Mailbox&) = default;
};

// Parses one mailbox; spaces around it are dropped. The local part is a dot-atom (a quoted local part is refused), the
// domain LDH or UTF-8 labels of 1 to 63 bytes (an address literal is refused). An unquoted display name may be any text
// without `" < > , ; @ \`. Refused, with a sentence that quotes no more than 64 bytes of the input: no or several `@`,
// > 64-byte local part, > 254-byte address, > 998 bytes in all, invalid UTF-8, any control character, NUL, CR, LF, TAB,
// U+2028, U+2029, a space or <> inside the address, %0d / %0a / %00 in any case.
Result<Mailbox> ParseMailbox(std::string_view text);

// The same into an object that keeps its capacity; unspecified after a failure.
Status ParseMailbox(std::string_view text, Mailbox& mailbox);

// The reason why `text` may not stand in a header ("has a line break in it"), or nullptr: control characters but TAB,
// DEL, C1 controls, U+2028, U+2029, invalid UTF-8, or an encoded line break (`%0d%0a` in any case).
const char* HeaderTextProblem(std::string_view text);

}  // namespace postbus
