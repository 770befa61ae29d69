// host/abi_sizes.h - what ABI 1.0 has of each struct that plugins allocate. A plugin of any 1.x has as much, and may
// have less than this host's sizeof: what is newer than 1.0 is read only where POSTBUS_SIZE_WITH says that it is there.
// Frozen: tests/abi/v1.0/ has the headers.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstring>

#include "postbus/abi.h"

namespace postbus {

inline constexpr size_t kEntrySize = POSTBUS_SIZE_WITH(postbus_entry, get);
inline constexpr size_t kOptionSize = POSTBUS_SIZE_WITH(postbus_option, description);
inline constexpr size_t kTransportSize = POSTBUS_SIZE_WITH(postbus_transport, destroy);
inline constexpr size_t kRendererSize = POSTBUS_SIZE_WITH(postbus_renderer, destroy);
inline constexpr size_t kResultSize = POSTBUS_SIZE_WITH(postbus_result, recipients);
inline constexpr size_t kRecipientResultSize = POSTBUS_SIZE_WITH(postbus_recipient_result, text);

// A copy of what a plugin allocated: as much as both know.
template <typename Struct>
Struct CopyOf(const Struct& theirs) {
  Struct ours{};
  std::memcpy(&ours, &theirs, std::min<size_t>(theirs.size, sizeof ours));
  ours.size = sizeof ours;
  return ours;
}

}  // namespace postbus
