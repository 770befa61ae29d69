#include "host/recipient_hash.h"

#include <gtest/gtest.h>

namespace postbus {
namespace {

uint64_t HashOf(std::string_view address, std::string_view key = "0123456789abcdef") {
  return RecipientHasher(key).Hash(address);
}

// Spelt out, made by Python's hmac: hosts, API and commands of different versions must agree.
TEST(RecipientHash, IsTheBeginningOfAnHmac) {
  EXPECT_EQ(HashOf("ada@example.com"), 0x512383176ce1b4c2u);
  RecipientHasher twice("0123456789abcdef");
  EXPECT_EQ(twice.Hash("ada@example.com"), twice.Hash("ada@example.com"));
  EXPECT_NE(twice.Hash("bob@example.com"), twice.Hash("ada@example.com"));
}

TEST(RecipientHash, TheWritingOfAnAddressDoesNotMatter) {
  EXPECT_EQ(HashOf("Ada@EXAMPLE.com"), HashOf("ada@example.com"));
  EXPECT_EQ(HashOf("ada@Bücher.example"), HashOf("ada@xn--bcher-kva.example"));
  EXPECT_EQ(HashOf("ü@bücher.example"), 0x61227f0d9890708eu)
      << "the domain's A-labels though the local part is not ASCII";
  EXPECT_NE(HashOf("ada+x@example.com"), HashOf("ada@example.com"));
}

TEST(RecipientHash, TheKeyIsTheSecretOrTheQueuesName) {
  QueueConfig queue;
  queue.kafka.topic = "email-queue";
  EXPECT_EQ(HashOf("ada@example.com", RecipientKey(queue)), 0x9bcb36df724c0433u);
  queue.kafka.brokers = "elsewhere:9092";  // another host may reach the same cluster by another name
  queue.state_dir = "elsewhere";
  EXPECT_EQ(HashOf("ada@example.com", RecipientKey(queue)), 0x9bcb36df724c0433u);
  queue.kafka.prefix = "other";
  EXPECT_NE(HashOf("ada@example.com", RecipientKey(queue)), 0x9bcb36df724c0433u);
  queue.type = QueueConfig::Type::kSqlite;
  EXPECT_EQ(HashOf("ada@example.com", RecipientKey(queue)), 0x5c81dc43899d8d1fu);
  queue.recipient_key = "0123456789abcdef";
  EXPECT_EQ(HashOf("ada@example.com", RecipientKey(queue)), 0x512383176ce1b4c2u);
}

TEST(RecipientHash, OfRecipientsOfAnEvent) {
  EmailEvent event;
  event.to = {{"", "a@x.org"}, {"", "b@x.org"}};
  event.bcc = {{"", "c@x.org"}};
  std::vector<uint64_t> hashes = {7};
  RecipientHasher("0123456789abcdef").Hash(event, RecipientSet{0b1101}, hashes);
  EXPECT_EQ(hashes, (std::vector<uint64_t>{HashOf("a@x.org"), HashOf("c@x.org")}));
}

}  // namespace
}  // namespace postbus
