// plugins/null/transport.h - accepts every mail and throws it away, at once or after a fixed time: a provider that is
// never the bottleneck, or one with a latency of your choice.
#pragma once

#include <array>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <mutex>
#include <span>
#include <string>
#include <thread>

#include "postbus/transport.hpp"

namespace postbus::null {

inline constexpr std::array kOptions = {
    sdk::DurationOption("latency", "How long each answer takes; all mails wait at the same time.")
        .Default("0s")
        .Range(0, 600'000)};

// Without latency it answers inside Submit and has no thread; else one thread answers, in the order of arrival. As many
// mails as are offered are under way: host.max_in_flight is the bound.
class NullTransport : public sdk::Transport {
 public:
  NullTransport(sdk::Host host, const sdk::Options& options);
  ~NullTransport() override;

  bool Probe(int64_t deadline_ms, std::string& report) override;
  uint32_t Submit(std::span<const postbus_mail* const> mails) override;
  void Cancel(std::span<const uint64_t> tokens) override;  // nothing: all are past their point of no return
  void Quiesce(int64_t deadline_ms) override;
  uint32_t Outstanding() const override;

 private:
  struct Pending {
    int64_t due_ms = 0;
    uint64_t token = 0;
  };

  void Work();

  const sdk::Host host_;
  const int64_t latency_ms_;

  mutable std::mutex mutex_;  // guards all below
  std::condition_variable work_;
  std::deque<Pending> pending_;  // by due time
  uint32_t outstanding_ = 0;
  int64_t quiesce_deadline_ms_ = INT64_MAX;
  bool stopping_ = false;
  std::thread worker_;  // where there is a latency; last: it uses all above
};

}  // namespace postbus::null
