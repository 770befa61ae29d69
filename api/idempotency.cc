#include "api/idempotency.h"

#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <cstdlib>

#include "event/email_event.h"

namespace postbus {
namespace {

constexpr size_t kMaxKeyBytes = 255;

// The namespace of our ids: 68c9cd94-7108-46e7-b55b-0c62782fb258. Never changes.
constexpr std::array<unsigned char, 16> kNamespace = {0x68, 0xc9, 0xcd, 0x94, 0x71, 0x08, 0x46, 0xe7,
                                                      0xb5, 0x5b, 0x0c, 0x62, 0x78, 0x2f, 0xb2, 0x58};

std::string Hash(const EVP_MD* type, std::string_view text) {
  std::string hash(static_cast<size_t>(EVP_MD_get_size(type)), '\0');
  // Fails where the library lacks the algorithm or memory: no id could be trusted.
  if (EVP_Digest(text.data(), text.size(), reinterpret_cast<unsigned char*>(hash.data()), nullptr, type, nullptr) !=
      1) {
    std::abort();
  }
  return hash;
}

}  // namespace

bool IsIdempotencyKey(std::string_view key) {
  return !key.empty() && key.size() <= kMaxKeyBytes &&
         std::all_of(key.begin(), key.end(), [](char c) { return c >= 0x20 && c <= 0x7E; });
}

std::string IdOfKey(std::string_view key) {
  std::string name(kNamespace.begin(), kNamespace.end());
  name += key;
  const std::string hash = Hash(EVP_sha1(), name);
  std::array<unsigned char, 16> bytes{};
  std::copy_n(hash.begin(), bytes.size(), bytes.begin());
  return FormatUuid(bytes, 5);
}

// A line feed is in no key.
std::string IdOfKey(std::string_view key, size_t index) {
  return IdOfKey(std::string(key) + '\n' + std::to_string(index));
}

std::string DigestOf(std::string_view body) { return Hash(EVP_sha256(), body); }

}  // namespace postbus
