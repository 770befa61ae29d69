#include "host/recipient_hash.h"

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/params.h>

#include <algorithm>
#include <cstdlib>

#include "event/text.h"
#include "host/a_labels.h"

namespace postbus {
namespace {

void Normalize(std::string_view address, std::string& out) {
  const size_t at = std::min(address.rfind('@'), address.size());
  out = address.substr(at);
  WriteDomainInAscii(out);  // of a local part that is not there, so that it does whatever that has in it
  out.insert(0, address.substr(0, at));
  std::transform(out.begin(), out.end(), out.begin(), ToLower);
}

}  // namespace

std::string RecipientKey(const QueueConfig& queue) {
  if (!queue.recipient_key.empty()) return queue.recipient_key;
  return "postbus recipients of " + (queue.type == QueueConfig::Type::kKafka ? queue.kafka.Prefix() : "sqlite");
}

void RecipientHasher::Free::operator()(evp_mac_ctx_st* context) const { EVP_MAC_CTX_free(context); }

RecipientHasher::RecipientHasher(std::string_view key) {
  EVP_MAC* const hmac = EVP_MAC_fetch(nullptr, "HMAC", nullptr);
  context_.reset(EVP_MAC_CTX_new(hmac));
  EVP_MAC_free(hmac);
  std::string digest = "SHA256";
  const OSSL_PARAM parameters[] = {OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest.data(), 0),
                                   OSSL_PARAM_construct_end()};
  // Fails where the library lacks the algorithm or memory.
  if (EVP_MAC_init(context_.get(), reinterpret_cast<const unsigned char*>(key.data()), key.size(), parameters) != 1) {
    std::abort();
  }
}

uint64_t RecipientHasher::Hash(std::string_view address) {
  Normalize(address, scratch_);
  unsigned char mac[32];
  size_t size = 0;
  if (EVP_MAC_init(context_.get(), nullptr, 0, nullptr) != 1 ||  // with the key it has
      EVP_MAC_update(context_.get(), reinterpret_cast<const unsigned char*>(scratch_.data()), scratch_.size()) != 1 ||
      EVP_MAC_final(context_.get(), mac, &size, sizeof mac) != 1) {
    std::abort();
  }
  uint64_t hash = 0;
  for (size_t i = 0; i < sizeof hash; ++i) hash = hash << 8 | mac[i];
  return hash;
}

void RecipientHasher::Hash(const EmailEvent& event, RecipientSet recipients, std::vector<uint64_t>& hashes) {
  hashes.clear();
  for (size_t i = 0; i < event.recipient_count(); ++i) {
    if (recipients.contains(i)) hashes.push_back(Hash(event.recipient(i).address));
  }
}

}  // namespace postbus
