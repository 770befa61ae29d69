// event/text.h - bytes from outside: UTF-8 step by step, and quoted so that they are safe in a message; words joined.
// Pure functions.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace postbus {

// Bytes of the well-formed UTF-8 sequence (RFC 3629) at the front of `text`, 1 to 4; 0: there is none.
size_t Utf8SequenceSize(std::string_view text);

// Is this one UTF-8 sequence a character that ends a line or steers a terminal: C0, DEL, C1, U+2028, U+2029?
bool IsControl(std::string_view sequence);

inline char ToLower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : c; }  // ASCII

bool IsAscii(std::string_view text);

// Do they differ in nothing but the case of ASCII letters?
bool EqualIgnoringCase(std::string_view a, std::string_view b);

// `text` in double quotes: at most 64 bytes of it, cut between characters, `?` for what is a control or no UTF-8.
std::string Quoted(std::string_view text);

// "a, b, c" where `between` is ", ".
std::string Joined(const std::vector<std::string>& words, std::string_view between);

}  // namespace postbus
