// host/recipient_hash.h - what status records say of a recipient instead of an address: 64 bits of an HMAC-SHA256 of
// it. Who knows the address finds its mails (`status --to`); who reads the records learns no address, unless the key is
// known and the address guessed.
//
// All who share a queue hash with one key: queue.recipient_key. Without one it is made of the queue's name, so that
// every host, API and command has it without being told; then anybody can make it, too. One thread at a time.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "event/email_event.h"
#include "queue/event_headers.h"
#include "queue/queue_config.h"

struct evp_mac_ctx_st;

namespace postbus {

// The key for a queue.
std::string RecipientKey(const QueueConfig& queue);

class RecipientHasher {
 public:
  explicit RecipientHasher(std::string_view key);

  // Addresses that differ in the case of ASCII letters or in how their domain is written (A-labels or not) have one
  // hash.
  uint64_t Hash(std::string_view address);

  // Of these recipients of the event, by index, into `hashes` instead of what is in it.
  void Hash(const EmailEvent& event, RecipientSet recipients, std::vector<uint64_t>& hashes);

 private:
  struct Free {
    void operator()(evp_mac_ctx_st* context) const;
  };
  std::unique_ptr<evp_mac_ctx_st, Free> context_;  // has the key
  std::string scratch_;
};

}  // namespace postbus
