// plugins/ses/signature.h - AWS Signature Version 4 of one POST. Pure.
#pragma once

#include <ctime>
#include <string>
#include <string_view>
#include <vector>

namespace postbus::ses {

struct Credentials {
  std::string access_key_id;
  std::string secret_access_key;
  std::string session_token;  // of temporary credentials; else empty
};

// The header fields to send with the request, the signature among them; `authority` is the Host header's value.
// REQUIRES: `path` needs no percent-encoding and there is no query.
std::vector<std::string> SignedHeaders(const Credentials& credentials, std::string_view region,
                                       std::string_view authority, std::string_view path, std::string_view body,
                                       std::time_t now);

}  // namespace postbus::ses
