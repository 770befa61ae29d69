// admin/admin_server.h - the admin port of every role: /metrics, /livez, /readyz, POST /-/reload, /-/pause, /-/resume,
// /-/drain.
#pragma once

#include <functional>
#include <memory>

#include "api/http_server.h"
#include "event/status.h"
#include "host/config.h"
#include "host/metrics.h"
#include "host/pauses.h"

namespace postbus {

// What the admin port asks the process for. Called on the server's thread; must not block.
struct AdminActions {
  std::function<Status()> ready;          // does this process do its work?
  std::function<void(HttpReply)> reload;  // reads the configuration again and answers what came of it
  std::function<void(bool leave)> drain;  // ends the process; `leave`: for good
  Pauses* pauses = nullptr;               // of the transports
};

// Starts it on config.admin.listen. /livez never depends on anything outside the process. Metrics and whatever the
// actions use outlive the server.
Result<std::unique_ptr<HttpServer>> StartAdminServer(const Config& config, const Metrics& metrics,
                                                     AdminActions actions);

}  // namespace postbus
