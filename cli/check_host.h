// cli/check_host.h - the host of plugin checks: believes nothing. It records what a plugin does with the mails it was
// offered, and keeps the first thing that the ABI forbids.
// Thread-safe. Never destroyed: a plugin that calls after its own end is what it waits for.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "cli/check_memory.h"
#include "postbus/abi.h"

namespace postbus {

class CheckHost {
 public:
  CheckHost();
  CheckHost(const CheckHost&) = delete;
  CheckHost& operator=(const CheckHost&) = delete;

  const postbus_host* abi() const { return &abi_; }

  // permit_send answers ABORT from now on.
  void AbortAll();
  // No log line and no result may have this in it.
  void Plant(std::string secret);
  // Before submit. `memory` has the mail; it is taken away with the mail's complete.
  void Offer(uint64_t token, uint32_t n_recipients, CheckMemory* memory);
  // After submit: it did not take this one.
  void NotTaken(uint64_t token);
  // Between create and destroy it may be called, and not afterwards.
  void SetOpen(bool is_open);
  // A provider has a whole mail: `bytes` of a request or message.
  void OnWire(std::string_view bytes);
  void Fault(std::string sentence);
  // The same, where `text` is what a plugin wrote, called `what`.
  void CheckText(std::string_view what, std::string_view text);

  // "" or the first thing it did that it may not.
  std::string fault() const;
  // 0 while it is not completed.
  int32_t OutcomeOf(uint64_t token) const;
  size_t taken() const;
  size_t completed() const;
  // True when all mails that were taken are completed, or there is a fault; false when `limit` has passed.
  bool WaitUntilCompleted(std::chrono::milliseconds limit) const;
  // How often `writable` was called.
  uint64_t writable_calls() const;
  // True as soon as it was called more often than `times`, or there is a fault; false when `limit` has passed.
  bool WaitUntilWritable(uint64_t times, std::chrono::milliseconds limit) const;

 private:
  struct Attempt {
    CheckMemory* memory = nullptr;
    uint32_t n_recipients = 0;
    bool permitted = false;
    bool taken = true;
    int32_t outcome = 0;
  };

  static CheckHost& Of(void* ctx) { return *static_cast<CheckHost*>(ctx); }
  static void Log(void* ctx, int32_t level, postbus_str message) noexcept;
  static void PermitSend(void* ctx, const uint64_t* tokens, uint8_t* verdicts, uint32_t n) noexcept;
  static void Complete(void* ctx, uint64_t token, const postbus_result* result) noexcept;
  static void Writable(void* ctx) noexcept;

  // With the lock held.
  void KeepFault(std::string sentence);
  void KeepCall(std::string_view function);
  void KeepTextFault(std::string_view what, std::string_view text);
  size_t CompletedLocked() const;

  postbus_host abi_ = {};
  mutable std::mutex mutex_;  // guards all below
  mutable std::condition_variable changed_;
  std::map<uint64_t, Attempt> attempts_;
  std::vector<std::string> planted_;
  std::string fault_;
  size_t permitted_ = 0;
  size_t on_wire_unnamed_ = 0;
  bool abort_all_ = false;
  bool is_open_ = true;
  uint64_t writable_calls_ = 0;
};

}  // namespace postbus
