// api/json_array.h - takes a JSON array apart without parsing what is in it. Pure.
#pragma once

#include <optional>
#include <string_view>
#include <vector>

namespace postbus {

// The elements of a JSON array, views into `text`; nothing: it is none. Only brackets, commas and strings are looked
// at: whether an element is JSON is found by whoever decodes it.
std::optional<std::vector<std::string_view>> SplitJsonArray(std::string_view text);

}  // namespace postbus
