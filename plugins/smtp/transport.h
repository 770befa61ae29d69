// plugins/smtp/transport.h - the SMTP transport: hands mails to one server over a pool of kept connections. Threads as
// postbus/transport.hpp says.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "plugins/smtp/pool.h"
#include "postbus/transport.hpp"

namespace postbus::smtp {

class Transport final : public sdk::Transport, public PoolOwner {
 public:
  Transport(sdk::Host host, const sdk::Options& options);
  ~Transport() override;

  bool Probe(int64_t deadline_ms, std::string& report) override;
  uint32_t Submit(std::span<const postbus_mail* const> mails) override;
  void Cancel(std::span<const uint64_t> tokens) override;
  void Quiesce(int64_t deadline_ms) override;
  uint32_t Outstanding() const override { return outstanding_.load(); }

  void OnComplete(uint64_t token, const postbus_result& result) override;

 private:
  // Room for the first so many of them.
  uint32_t Reserve(std::span<const postbus_mail* const> mails);

  const sdk::Host host_;
  const Settings settings_;
  uint32_t capacity_ = 0;             // mails
  uint32_t capacity_for_others_ = 0;  // than high ones
  std::atomic<uint32_t> outstanding_ = 0;
  std::atomic<uint32_t> turn_ = 0;            // the pool that gets the next mails
  std::atomic<bool> owes_writable_ = false;   // a Submit took fewer mails than offered
  std::vector<std::unique_ptr<Pool>> pools_;  // last: their threads use what is above
};

}  // namespace postbus::smtp
