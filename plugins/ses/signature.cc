#include "plugins/ses/signature.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/sha.h>

#include <array>
#include <stdexcept>

namespace postbus::ses {
namespace {

constexpr std::string_view kService = "ses";

const unsigned char* Bytes(std::string_view text) { return reinterpret_cast<const unsigned char*>(text.data()); }

std::string Sha256(std::string_view text) {
  std::string digest(SHA256_DIGEST_LENGTH, '\0');
  SHA256(Bytes(text), text.size(), reinterpret_cast<unsigned char*>(digest.data()));
  return digest;
}

std::string HmacSha256(std::string_view key, std::string_view text) {
  std::string digest(SHA256_DIGEST_LENGTH, '\0');
  if (HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()), Bytes(text), text.size(),
           reinterpret_cast<unsigned char*>(digest.data()), nullptr) == nullptr) {
    throw std::runtime_error("OpenSSL has no HMAC-SHA256");
  }
  return digest;
}

std::string Hex(std::string_view bytes) {
  std::string hex;
  for (const char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    hex += "0123456789abcdef"[byte >> 4];
    hex += "0123456789abcdef"[byte & 0xF];
  }
  return hex;
}

std::string Utc(std::time_t at, const char* format) {
  std::tm utc{};
  gmtime_r(&at, &utc);
  std::array<char, 32> text{};
  std::strftime(text.data(), text.size(), format, &utc);
  return text.data();
}

}  // namespace

std::vector<std::string> SignedHeaders(const Credentials& credentials, std::string_view region,
                                       std::string_view authority, std::string_view path, std::string_view body,
                                       std::time_t now) {
  const std::string time = Utc(now, "%Y%m%dT%H%M%SZ");
  const std::string date = time.substr(0, 8);
  // In the order of their names. libcurl writes Host itself.
  std::vector<std::pair<std::string_view, std::string>> fields = {
      {"content-type", "application/json"}, {"host", std::string(authority)}, {"x-amz-date", time}};
  if (!credentials.session_token.empty()) fields.emplace_back("x-amz-security-token", credentials.session_token);

  std::string names;
  std::string canonical = "POST\n" + std::string(path) + "\n\n";
  std::vector<std::string> headers;
  for (const auto& [name, value] : fields) {
    names.append(names.empty() ? "" : ";").append(name);
    canonical.append(name).append(":").append(value).append("\n");
    if (name != "host") headers.push_back(std::string(name) + ": " + value);
  }
  canonical += "\n" + names + "\n" + Hex(Sha256(body));

  const std::string scope = date + "/" + std::string(region) + "/" + std::string(kService) + "/aws4_request";
  std::string key = "AWS4" + credentials.secret_access_key;
  for (const std::string_view part : {std::string_view(date), region, kService, std::string_view("aws4_request")}) {
    key = HmacSha256(key, part);
  }
  const std::string signature =
      Hex(HmacSha256(key, "AWS4-HMAC-SHA256\n" + time + "\n" + scope + "\n" + Hex(Sha256(canonical))));
  headers.push_back("authorization: AWS4-HMAC-SHA256 Credential=" + credentials.access_key_id + "/" + scope +
                    ", SignedHeaders=" + names + ", Signature=" + signature);
  return headers;
}

}  // namespace postbus::ses
