// Texts that try to add a line to a header or a command to an SMTP session, as bytes. None may pass in any field that
// reaches a header, an envelope or a log.
#pragma once

#include <string>
#include <vector>

namespace postbus {

inline std::vector<std::string> Injections() {
  using namespace std::string_literals;
  return {
      "\r\n"s,
      "\n"s,
      "\r"s,
      "\n\r"s,
      "\0"s,
      "\r\n\r\n"s,
      "\r\n "s,
      "\r\n\t"s,
      "\n "s,
      "\r\nBcc: victim@example.com"s,
      "\nBcc: victim@example.com"s,
      "\rBcc: victim@example.com"s,
      "\r\nSubject: other"s,
      "\r\n\r\n<html>body</html>"s,
      "\r\n.\r\n"s,
      "\n.\n"s,
      "\n.\r\n"s,
      "\r.\r"s,
      "\r\n.\r\nMAIL FROM:<evil@example.com>"s,
      "\r\nRCPT TO:<victim@example.com>"s,
      ">\r\nRCPT TO:<victim@example.com"s,
      "\r\nRSET\r\n"s,
      "\r\nDATA\r\n"s,
      "\0\r\n"s,
      "x\0y"s,
      "%0d%0a"s,
      "%0D%0A"s,
      "%0d%0A"s,
      "%0D%0a"s,
      "%0d%0aBcc:victim@example.com"s,
      "%25%0d%0a"s,
      "\u2028"s,
      "\u2029"s,
      "\u2028Bcc: victim@example.com"s,
      "\u0085"s,
      "\u0080"s,
      "\u009f"s,
      "\u008d\u008a"s,
      "\v"s,
      "\f"s,
      "\b\b\b\b"s,
      "\x1b[2J"s,
      "\x1b]0;title\x07"s,
      "\x7f"s,
      "\x01"s,
      "\x1f"s,
      "\x1a"s,
      "\xC0\x8A"s,          // overlong LF
      "\xC0\x8D\xC0\x8A"s,  // overlong CR LF
      "\xE0\x80\x8A"s,
      "\xF0\x80\x80\x8A"s,
      "\xC0\x80"s,      // overlong NUL
      "\xED\xA0\x8D"s,  // surrogates
      "\xED\xA8\x8A\xED\xB0\x8A"s,
      "\x8A"s,
      "\xE2\x80"s,  // half of U+2028
      "\xFF\xFE\n"s,
      "\xF4\x90\x80\x80"s,
  };
}

}  // namespace postbus
