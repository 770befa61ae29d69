// host/redact.h - takes addresses out of texts that others wrote (servers' replies, validation errors) before they
// reach a log, a header or a status record. Pure.
#pragma once

#include <string>
#include <string_view>

namespace postbus {

// Appends `text` to `out` with every word that contains `@` replaced by `<address>` and every control character by a
// space, cut to `max_bytes` at a UTF-8 boundary.
void AppendRedacted(std::string_view text, size_t max_bytes, std::string& out);
std::string Redacted(std::string_view text, size_t max_bytes = 512);

}  // namespace postbus
