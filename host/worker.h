// host/worker.h - the host role as one object: plugins, shards and the queue's consuming side.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "event/status.h"
#include "host/config.h"
#include "host/log.h"
#include "host/metrics.h"
#include "host/renderer.h"
#include "host/transport.h"
#include "queue/queue.h"

namespace postbus {

// All calls from the control thread.
class Worker {
 public:
  // Loads the plugins, then starts to consume. Everything given must outlive the Worker.
  static Result<std::unique_ptr<Worker>> Start(const Config& config, Queue& queue, const Renderer& renderer,
                                               Metrics& metrics, Log& log);
  ~Worker();  // stops without draining if Drain was not called
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  const std::vector<std::unique_ptr<Transport>>& transports() const;

  // Takes nothing new, lets the mails under way finish until the deadline, makes the queue flush, commit and close.
  // True: nothing was left unfinished. What is left comes again at the next start.
  bool Drain(int64_t deadline_boot_ms);

 private:
  Worker();
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace postbus
