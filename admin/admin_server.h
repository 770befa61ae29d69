// admin/admin_server.h - the admin port of every role: /metrics, /livez, /readyz.
#pragma once

#include <functional>
#include <memory>

#include "api/http_server.h"
#include "event/status.h"
#include "host/config.h"
#include "host/metrics.h"

namespace postbus {

// Starts it on config.admin.listen. `ready` says whether this process does its work; called on the server's thread.
// /livez never depends on anything outside the process. Metrics and whatever `ready` uses outlive the server.
Result<std::unique_ptr<HttpServer>> StartAdminServer(const Config& config, const Metrics& metrics,
                                                     std::function<Status()> ready);

}  // namespace postbus
