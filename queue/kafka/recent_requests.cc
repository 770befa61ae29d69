#include "queue/kafka/recent_requests.h"

#include <utility>

namespace postbus::kafka {
namespace {

constexpr int64_t kKeptMs = 86'400'000;
constexpr size_t kMaxRequests = 100'000;

}  // namespace

RecentRequests::Fate RecentRequests::Begin(std::string_view id, std::string_view digest, int64_t now_unix_ms,
                                           Done& done) {
  const std::lock_guard lock(mutex_);
  Forget(now_unix_ms);
  if (const auto found = by_id_.find(id); found != by_id_.end()) {
    Request& request = *found->second;
    if (request.digest != digest) return Fate::kConflict;
    if (request.accepted) return Fate::kAccepted;
    request.waiting.push_back(std::move(done));
    return Fate::kWaits;
  }
  requests_.push_back({std::string(id), std::string(digest), now_unix_ms});
  by_id_.emplace(requests_.back().id, std::prev(requests_.end()));
  return Fate::kNew;
}

void RecentRequests::End(std::string_view id, const Status& status) {
  std::vector<Done> waiting;
  {
    const std::lock_guard lock(mutex_);
    const auto request = by_id_.find(id)->second;
    waiting.swap(request->waiting);
    request->accepted = status.ok();
    if (!status.ok()) {
      by_id_.erase(request->id);
      requests_.erase(request);
    }
  }
  for (const Done& done : waiting) done(status);
}

// Stops at one that is being published: somebody waits for it.
void RecentRequests::Forget(int64_t now_unix_ms) {
  while (!requests_.empty() && requests_.front().accepted &&
         (requests_.size() >= kMaxRequests || requests_.front().begun_unix_ms + kKeptMs < now_unix_ms)) {
    by_id_.erase(requests_.front().id);
    requests_.pop_front();
  }
}

}  // namespace postbus::kafka
