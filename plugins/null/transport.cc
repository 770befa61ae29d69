#include "plugins/null/transport.h"

#include <algorithm>
#include <vector>

namespace postbus::null {
namespace {

sdk::Outcome Taken() { return sdk::Outcome::Accepted("null", "thrown away").At(POSTBUS_PHASE_FINAL_DOT); }

}  // namespace

NullTransport::NullTransport(sdk::Host host, const sdk::Options& options)
    : host_(host), latency_ms_(options.Duration("latency").count()) {
  if (latency_ms_ > 0) worker_ = std::thread([this] { Work(); });
}

NullTransport::~NullTransport() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  work_.notify_all();
  if (worker_.joinable()) worker_.join();
}

bool NullTransport::Probe(int64_t /*deadline_ms*/, std::string& /*report*/) { return true; }

uint32_t NullTransport::Submit(std::span<const postbus_mail* const> mails) {
  std::vector<uint64_t> tokens(mails.size());
  std::transform(mails.begin(), mails.end(), tokens.begin(), [](const postbus_mail* mail) { return mail->token; });
  std::vector<uint8_t> verdicts(mails.size(), POSTBUS_ABORT);
  std::vector<Pending> later;
  later.reserve(latency_ms_ > 0 ? mails.size() : 0);  // nothing below throws
  host_.PermitSend(tokens, verdicts);
  const int64_t now_ms = host_.NowMs();
  const int64_t due_ms = now_ms + latency_ms_;
  for (size_t i = 0; i < tokens.size(); ++i) {
    if (verdicts[i] != POSTBUS_GO) {
      host_.Complete(tokens[i], sdk::Outcome::NotSent("the host did not permit it"));
    } else if (now_ms >= mails[i]->deadline_ms) {
      host_.Complete(tokens[i], sdk::Outcome::NotSent("its deadline passed"));
    } else if (latency_ms_ > 0) {
      later.push_back({.due_ms = due_ms, .token = tokens[i]});
    } else {
      host_.Complete(tokens[i], Taken());
    }
  }
  if (!later.empty()) {
    const std::lock_guard lock(mutex_);
    outstanding_ += static_cast<uint32_t>(later.size());
    pending_.insert(pending_.end(), later.begin(), later.end());
    work_.notify_all();
  }
  return static_cast<uint32_t>(mails.size());
}

void NullTransport::Cancel(std::span<const uint64_t> /*tokens*/) {}

void NullTransport::Quiesce(int64_t deadline_ms) {
  const std::lock_guard lock(mutex_);
  quiesce_deadline_ms_ = deadline_ms;
  work_.notify_all();
}

uint32_t NullTransport::Outstanding() const {
  const std::lock_guard lock(mutex_);
  return outstanding_;
}

void NullTransport::Work() {
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    if (pending_.empty()) {
      work_.wait(lock);
      continue;
    }
    const int64_t due_ms = std::min(pending_.front().due_ms, quiesce_deadline_ms_);
    const int64_t now_ms = host_.NowMs();
    if (now_ms < due_ms) {
      work_.wait_for(lock, std::chrono::milliseconds(due_ms - now_ms));
      continue;
    }
    const uint64_t token = pending_.front().token;
    pending_.pop_front();
    lock.unlock();
    host_.Complete(token, Taken());
    lock.lock();
    --outstanding_;  // after Complete: at 0 the host may destroy this object
  }
}

}  // namespace postbus::null
