// plugins/smtp/pool.h - one I/O thread with a queue of mails and the connections that work it off.
//
// Connections are opened while mails wait that no opening connection will serve, never more at a time than there are
// live ones, so that a burst does not open one each; idle ones are used last in, first out, so that what is not needed
// idles out. While no connection can be had attempts are 100 ms to 5 s apart, and each one that fails fails all waiting
// mails: they are the provider's business then, not ours to hold.
//
// Submit, Cancel and Quiesce: any thread. The constructor starts the thread, the destructor joins it.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "plugins/smtp/connection.h"
#include "postbus/plugin.hpp"

namespace postbus::smtp {

class PoolOwner {
 public:
  virtual ~PoolOwner() = default;
  // A mail's turn is over; exactly once for each submitted. On the pool's thread, or the destructor's.
  virtual void OnComplete(uint64_t token, const postbus_result& result) = 0;
};

class Pool {
 public:
  // The pool never holds more than `max_mails` mails: its owner sees to it. `settings` and `owner` must outlive it.
  Pool(sdk::Host host, const Settings& settings, uint32_t max_connections, uint32_t max_mails, PoolOwner& owner);
  // What has not ended is completed.
  ~Pool();

  void Submit(std::span<const postbus_mail* const> mails);
  void Cancel(std::span<const uint64_t> tokens);
  void Quiesce(int64_t deadline_ms);

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

// Opens a connection as a first mail would and closes it with QUIT; blocks, on a thread of the caller's. Empty: it
// worked; else why not.
std::string Probe(sdk::Host host, const Settings& settings, int64_t deadline_ms);

}  // namespace postbus::smtp
