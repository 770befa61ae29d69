// queue/kafka/recent_requests.h - the requests that named themselves (Idempotency-Key) and what became of them, so that
// a repeated one is answered and not published again. In this process's memory: the last 24 h, 100 000 at most.
// Thread-safe.
#pragma once

#include <cstdint>
#include <functional>
#include <list>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "event/status.h"

namespace postbus::kafka {

class RecentRequests {
 public:
  using Done = std::function<void(const Status&)>;
  enum class Fate {
    kNew,       // publish it, then End
    kAccepted,  // all its events are stored
    kWaits,     // it is being published: `done` was taken and is called with what End says
    kConflict,  // it is known with another digest
  };

  Fate Begin(std::string_view id, std::string_view digest, int64_t now_unix_ms, Done& done);
  // REQUIRES: Begin said kNew. A request that failed is forgotten: it may be made again.
  void End(std::string_view id, const Status& status);

 private:
  struct Request {
    std::string id;
    std::string digest;
    int64_t begun_unix_ms;
    bool accepted = false;
    std::vector<Done> waiting = {};
  };

  void Forget(int64_t now_unix_ms);

  std::mutex mutex_;
  std::list<Request> requests_;  // oldest first
  std::unordered_map<std::string_view, std::list<Request>::iterator> by_id_;
};

}  // namespace postbus::kafka
