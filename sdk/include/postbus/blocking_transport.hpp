// postbus/blocking_transport.hpp - a transport whose author writes one blocking function. The SDK owns the threads, the
// queue, the point of no return, deadlines, cancelling and completing exactly once.
#pragma once

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <unordered_map>
#include <utility>
#include <vector>

#include "postbus/transport.hpp"

namespace postbus::sdk {

// A mail's way: Prepare, then the SDK asks the host's permission (the point of no return), then Send. So a Send is
// always permitted, and an author who has nothing to prepare writes Send alone. Both are called from `threads` threads
// at a time; with 1 there is no concurrency. The threads are joined by this class's destructor, after the derived
// one's: the host destroys only at Outstanding() == 0, when no Send runs.
class BlockingTransport : public Transport {
 public:
  // As many mails again as there are threads wait in the queue. REQUIRES: threads >= 1.
  BlockingTransport(Host host, int64_t threads) : host_(host), capacity_(static_cast<size_t>(threads)) {
    workers_.reserve(capacity_);
    try {
      for (size_t i = 0; i < capacity_; ++i) workers_.emplace_back([this] { Work(); });
    } catch (...) {  // no more threads to be had: those there are wait on members about to go
      JoinAll();
      throw;
    }
  }

  ~BlockingTransport() override { JoinAll(); }

  // Override it where a first mail's way (connect, log in) can be tried without sending one.
  bool Probe(int64_t /*deadline_ms*/, std::string& /*report*/) override { return true; }

  uint32_t Submit(std::span<const postbus_mail* const> mails) final {
    const std::lock_guard lock(mutex_);
    const size_t taken = std::min(mails.size(), capacity_ - queue_.size());
    size_t queued = 0;
    try {
      for (; queued < taken; ++queued) queue_.push_back(mails[queued]);
    } catch (...) {  // Transport::Submit: all or none
      queue_.resize(queue_.size() - queued);
      throw;
    }
    outstanding_ += static_cast<uint32_t>(taken);
    offered_more_ = offered_more_ || taken < mails.size();
    work_.notify_all();
    return static_cast<uint32_t>(taken);
  }

  void Cancel(std::span<const uint64_t> tokens) final {
    std::vector<uint64_t> taken_back;
    taken_back.reserve(tokens.size());
    bool tell = false;
    {
      const std::lock_guard lock(mutex_);
      for (const uint64_t token : tokens) {
        const auto queued =
            std::find_if(queue_.begin(), queue_.end(), [&](const postbus_mail* mail) { return mail->token == token; });
        if (queued != queue_.end()) {
          taken_back.push_back(token);
          queue_.erase(queued);
        } else if (const auto preparing = preparing_.find(token); preparing != preparing_.end()) {
          preparing->second = kCancelled;
        }
      }
      tell = !taken_back.empty() && std::exchange(offered_more_, false);
    }
    for (const uint64_t token : taken_back) Complete(token, Outcome::NotSent("cancelled"));
    if (tell) host_.Writable();
  }

  void Quiesce(int64_t deadline_ms) final {
    const std::lock_guard lock(mutex_);
    quiesce_deadline_ms_ = deadline_ms;
    if (!reaper_.joinable()) reaper_ = std::thread([this] { Reap(); });
    work_.notify_all();
  }

  uint32_t Outstanding() const final {
    const std::lock_guard lock(mutex_);
    return outstanding_;
  }

 protected:
  // All that comes before the point of no return and takes time: connect, log in, write a temporary file. An outcome
  // ends the attempt. What it throws becomes PROVIDER_FAULT.
  virtual std::optional<Outcome> Prepare(const postbus_mail& /*mail*/) { return std::nullopt; }

  // Called with the host's permission, which lapses after 2 s: begin at once, or ask PermitSend again before the first
  // byte. Must end by itself, so put a time limit on every read. What it throws becomes IN_DOUBT.
  virtual Outcome Send(const postbus_mail& mail) = 0;

  // For a Send that could not begin within 2 s. False: return Outcome::NotSent.
  bool PermitSend(const postbus_mail& mail) const { return host_.PermitSend(mail.token); }

  const Host& host() const { return host_; }

 private:
  static constexpr bool kCancelled = true;

  void Work() {
    std::unique_lock lock(mutex_);
    while (true) {
      work_.wait(lock, [this] { return stopping_ || !queue_.empty(); });
      if (queue_.empty()) return;
      const postbus_mail& mail = *queue_.front();
      const uint64_t token = mail.token;
      queue_.pop_front();
      preparing_.emplace(token, !kCancelled);
      const bool tell = std::exchange(offered_more_, false);
      lock.unlock();
      if (tell) host_.Writable();
      Complete(token, Attempt(mail));  // the mail is the host's again
      lock.lock();
    }
  }

  Outcome Attempt(const postbus_mail& mail) {
    std::optional<Outcome> ended = PrepareInTime(mail);
    const bool cancelled = BeginSend(mail.token);
    if (ended) return *std::move(ended);
    if (cancelled) return Outcome::NotSent("cancelled");
    if (IsLate(mail)) return Outcome::NotSent("its deadline passed before the point of no return");
    if (!PermitSend(mail)) return Outcome::NotSent("the host did not permit it");
    return Barrier([&] { return Send(mail); },
                   [&](std::string_view what) {
                     LogThrown(host_, "send", what);
                     return Outcome::InDoubt("the transport plugin failed: " + std::string(what));
                   });
  }

  std::optional<Outcome> PrepareInTime(const postbus_mail& mail) {
    if (IsLate(mail)) return Outcome::NotSent("its deadline passed in the transport's queue");
    return Barrier([&] { return Prepare(mail); },
                   [&](std::string_view what) -> std::optional<Outcome> {
                     LogThrown(host_, "prepare", what);
                     return Outcome::ProviderFault("the transport plugin failed: " + std::string(what));
                   });
  }

  // From here on Cancel comes too late. kCancelled: it came before.
  bool BeginSend(uint64_t token) {
    const std::lock_guard lock(mutex_);
    const auto found = preparing_.find(token);
    const bool cancelled = found->second;
    preparing_.erase(found);
    return cancelled;
  }

  bool IsLate(const postbus_mail& mail) const {
    const int64_t now_ms = host_.NowMs();
    const std::lock_guard lock(mutex_);
    return now_ms >= mail.deadline_ms || now_ms >= quiesce_deadline_ms_;
  }

  void Complete(uint64_t token, const Outcome& outcome) {
    host_.Complete(token, outcome);
    const std::lock_guard lock(mutex_);  // after it: at 0 the host may destroy this object
    --outstanding_;
  }

  // Runs from Quiesce on: takes back what still waits at the deadline, even while every worker is inside a slow Send.
  void Reap() {
    std::deque<const postbus_mail*> rest;
    {
      std::unique_lock lock(mutex_);
      while (!stopping_ && host_.NowMs() < quiesce_deadline_ms_) {
        work_.wait_for(lock, std::chrono::milliseconds(std::min<int64_t>(quiesce_deadline_ms_ - host_.NowMs(), 1000)));
      }
      if (stopping_) return;
      rest.swap(queue_);
    }
    for (const postbus_mail* mail : rest) Complete(mail->token, Outcome::NotSent("the transport is being closed"));
  }

  void JoinAll() {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
      work_.notify_all();
    }
    for (std::thread& worker : workers_) worker.join();
    if (reaper_.joinable()) reaper_.join();
  }

  const Host host_;
  const size_t capacity_;
  std::vector<std::thread> workers_;
  std::thread reaper_;

  mutable std::mutex mutex_;  // guards all below
  std::condition_variable work_;
  std::deque<const postbus_mail*> queue_;
  std::unordered_map<uint64_t, bool> preparing_;  // by token: before its point of no return; was it cancelled?
  uint32_t outstanding_ = 0;
  int64_t quiesce_deadline_ms_ = INT64_MAX;
  bool offered_more_ = false;
  bool stopping_ = false;
};

}  // namespace postbus::sdk
