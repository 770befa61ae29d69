#include "queue/cancellations.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <mutex>
#include <random>
#include <utility>

#include "event/clock.h"

namespace postbus {
namespace {

constexpr size_t kSmallest = 64;

// SipHash-2-4 with 128 bits (Aumasson and Bernstein): ids are chosen by clients, and two that met would cancel each
// other's mails.
class SipHash {
 public:
  explicit SipHash(const std::array<uint64_t, 2>& key)
      : v0_(key[0] ^ 0x736f6d6570736575),
        v1_(key[1] ^ 0x646f72616e646f6d ^ 0xee),
        v2_(key[0] ^ 0x6c7967656e657261),
        v3_(key[1] ^ 0x7465646279746573) {}

  std::array<uint64_t, 2> operator()(std::string_view text) {
    const uint64_t size = text.size();
    for (; text.size() >= 8; text.remove_prefix(8)) Take(Word(text.substr(0, 8)));
    Take(size << 56 | Word(text));
    v2_ ^= 0xee;
    for (int i = 0; i < 4; ++i) Round();
    const uint64_t first = v0_ ^ v1_ ^ v2_ ^ v3_;
    v1_ ^= 0xdd;
    for (int i = 0; i < 4; ++i) Round();
    return {first, v0_ ^ v1_ ^ v2_ ^ v3_};
  }

 private:
  static uint64_t Word(std::string_view bytes) {
    uint64_t word = 0;
    std::memcpy(&word, bytes.data(), bytes.size());
    return word;
  }
  void Take(uint64_t word) {
    v3_ ^= word;
    Round();
    Round();
    v0_ ^= word;
  }
  void Round() {
    v0_ += v1_;
    v1_ = std::rotl(v1_, 13) ^ v0_;
    v0_ = std::rotl(v0_, 32);
    v2_ += v3_;
    v3_ = std::rotl(v3_, 16) ^ v2_;
    v0_ += v3_;
    v3_ = std::rotl(v3_, 21) ^ v0_;
    v2_ += v1_;
    v1_ = std::rotl(v1_, 17) ^ v2_;
    v2_ = std::rotl(v2_, 32);
  }

  uint64_t v0_, v1_, v2_, v3_;
};

}  // namespace

Cancellations::Cancellations() {
  std::random_device random;
  for (uint64_t& half : key_) half = uint64_t{random()} << 32 | random();
}

void Cancellations::Add(std::string_view id, int64_t at_unix_ms) {
  const int64_t now = UnixTimeMs();
  if (at_unix_ms <= 0) at_unix_ms = now;
  if (at_unix_ms < now - kKeptMs) return;
  const std::array<uint64_t, 2> hash = HashOf(id);
  const std::lock_guard lock(mutex_);
  if (used_ * 3 >= table_.size() * 2) MakeRoom(now);
  Entry& entry = table_[PlaceOf(hash)];
  const bool is_new = entry.free();
  entry = {hash, std::max(entry.at_unix_ms, at_unix_ms)};
  if (!is_new) return;
  ++used_;
  added_.fetch_add(1, std::memory_order_release);
}

int64_t Cancellations::RequestedAt(std::string_view id) const {
  if (added() == 0) return 0;
  const std::array<uint64_t, 2> hash = HashOf(id);
  const std::shared_lock lock(mutex_);
  return table_[PlaceOf(hash)].at_unix_ms;
}

size_t Cancellations::size() const {
  const std::shared_lock lock(mutex_);
  return used_;
}

std::array<uint64_t, 2> Cancellations::HashOf(std::string_view id) const { return SipHash(key_)(id); }

// Where it is, or where it would be put. REQUIRES: a place is free.
size_t Cancellations::PlaceOf(const std::array<uint64_t, 2>& hash) const {
  size_t place = hash[0] & (table_.size() - 1);
  while (!table_[place].free() && table_[place].hash != hash) place = (place + 1) & (table_.size() - 1);
  return place;
}

void Cancellations::MakeRoom(int64_t now_unix_ms) {
  std::vector<Entry> before = std::move(table_);
  std::erase_if(before, [&](const Entry& entry) { return entry.at_unix_ms < now_unix_ms - kKeptMs; });
  used_ = before.size();
  table_.assign(std::max(kSmallest, std::bit_ceil(used_ * 2 + 1)), {});
  for (const Entry& entry : before) table_[PlaceOf(entry.hash)] = entry;
}

}  // namespace postbus
