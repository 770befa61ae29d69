// queue/cancellations.h - the emails that somebody took back, by id, as far as this process knows: filled by the queue
// out of what it has durably, asked by whoever is about to do something with a mail. An id that was cancelled stays
// cancelled for as long as any email may wait, whatever comes with it: a replay, or a mail that is posted again.
//
// Thread-safe; asking costs one atomic load while there are none.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <shared_mutex>
#include <string_view>
#include <vector>

namespace postbus {

class Cancellations {
 public:
  // Longer than an email can be scheduled ahead: a cancellation must not be gone before its email comes.
  static constexpr int64_t kKeptMs = int64_t{400} * 86'400'000;

  Cancellations();

  // One that is older than kKeptMs is forgotten, at the latest when room is made for others.
  void Add(std::string_view id, int64_t at_unix_ms);
  bool Contains(std::string_view id) const { return RequestedAt(id) != 0; }
  // Unix ms; 0: it was not cancelled.
  int64_t RequestedAt(std::string_view id) const;

  // Grows with each one that was not there before: who keeps mails waiting looks at them again when it has changed.
  uint64_t added() const { return added_.load(std::memory_order_acquire); }
  size_t size() const;

 private:
  // Instead of the id a hash of 128 bits, whose key nobody knows: no two ids meet, by chance or on purpose.
  struct Entry {
    std::array<uint64_t, 2> hash{};
    int64_t at_unix_ms = 0;  // 0: the place is free

    bool free() const { return at_unix_ms == 0; }
  };

  std::array<uint64_t, 2> HashOf(std::string_view id) const;
  size_t PlaceOf(const std::array<uint64_t, 2>& hash) const;
  void MakeRoom(int64_t now_unix_ms);

  std::array<uint64_t, 2> key_;
  std::atomic<uint64_t> added_{0};

  mutable std::shared_mutex mutex_;  // guards the rest
  std::vector<Entry> table_;         // open addressing; a power of two, never full
  size_t used_ = 0;
};

}  // namespace postbus
