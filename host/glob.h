// host/glob.h - the patterns of the configuration: routes, recipients. A pure function.
#pragma once

#include <string_view>

namespace postbus {

// `*` in `pattern` stands for any run of characters, the empty one included; all else for itself. ASCII case matters
// only if `match_case`.
bool GlobMatches(std::string_view pattern, std::string_view text, bool match_case = true);

}  // namespace postbus
