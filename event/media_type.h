// event/media_type.h - media types of attachments (RFC 2045 5.1). For event/ only. Pure functions.
#pragma once

#include <string_view>

namespace postbus {

// Is `text` `type/subtype`, with or without parameters (`text/calendar; method=REQUEST`)? ASCII, tokens and quoted
// strings, no control character.
bool IsMediaType(std::string_view text);

// What an attachment without a content_type is, by the ending of its name; application/octet-stream where that says
// nothing.
std::string_view MediaTypeOf(std::string_view filename);

}  // namespace postbus
