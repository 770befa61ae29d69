// host/worker.h - the host role as one object: plugins, shards and the queue's consuming side.
#pragma once

#include <cstdint>
#include <memory>

#include "event/status.h"
#include "host/config.h"
#include "host/generation.h"
#include "host/log.h"
#include "host/metrics.h"
#include "host/pauses.h"
#include "host/renderer.h"
#include "queue/queue.h"

namespace postbus {

// All calls from the control thread.
class Worker {
 public:
  // Loads the plugins, then starts to consume. Queue, metrics, log and pauses (nullptr: there are none) must outlive
  // the Worker.
  static Result<std::unique_ptr<Worker>> Start(Config config, std::shared_ptr<const Renderer> renderer, Queue& queue,
                                               Metrics& metrics, Log& log, Pauses* pauses = nullptr);
  ~Worker();  // stops without draining if Drain was not called
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  // Names what does not go on (Watchdog). [any thread]
  Status Health() const;

  // What mails go by now.
  const Generation& generation() const;

  // Makes the next generation of `config` and lets all mails go by it that no transport has yet. On failure nothing has
  // changed. Transports whose plugin and options are the same live on; of the others nothing new is asked, and Tend
  // ends them. REQUIRES: KeysThatNeedRestart(generation().config, config) is empty.
  Status Reload(Config config, std::shared_ptr<const Renderer> renderer);

  // Ends what only former generations have, once it is done with its mails. To be called now and then while it returns
  // true: there is something left.
  bool Tend();

  // Takes nothing new, lets the mails under way finish until the deadline, makes the queue flush, commit and close.
  // True: nothing was left unfinished. What is left comes again at the next start.
  bool Drain(int64_t deadline_boot_ms);

 private:
  Worker();
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace postbus
