// host/quarantine.h - sees to it that a mail under suspicion (the process died of a fatal signal while a transport had
// it) is with the transports alone, whatever the shard: should the process die again, it was this mail.
//
// Thread-safe, wait-free; one a process, shared by its shards.
#pragma once

#include <atomic>
#include <cstdint>

namespace postbus {

class Quarantine {
 public:
  // How long a suspect waits for the others to come back; then it goes beside them, and a death proves nothing.
  static constexpr int64_t kWaitMs = 5'000;
  // How long the others wait for a suspect; then they go beside it.
  static constexpr int64_t kAloneMs = 5'000;

  // A shard is about to offer so many mails to a transport. False: none may go now; else each is to be told of by Back.
  bool Offer(int64_t mails) {
    with_transports_.fetch_add(mails);
    if (holder_.load() == nullptr) return true;
    with_transports_.fetch_sub(mails);
    return false;
  }
  // No transport has these any more.
  void Back(int64_t mails) { with_transports_.fetch_sub(mails); }

  // From now on only this suspect may go; false: another one is on its way. To be ended by Release.
  bool Hold(const void* suspect) {
    const void* nobody = nullptr;
    return holder_.load() == suspect || holder_.compare_exchange_strong(nobody, suspect);
  }
  void Release(const void* suspect) {
    const void* expected = suspect;
    holder_.compare_exchange_strong(expected, nullptr);
  }
  // While it holds: it is offered, and is to be told of by Back.
  void OfferSuspect() { with_transports_.fetch_add(1); }
  // Somebody has it, and no mail may go.
  bool is_held() const { return holder_.load() != nullptr; }
  bool nobody_is_out() const { return with_transports_.load() == 0; }

 private:
  std::atomic<int64_t> with_transports_{0};
  std::atomic<const void*> holder_{nullptr};
};

}  // namespace postbus
