// host/route.h - which transport an event goes by. Immutable; thread-safe.
#pragma once

#include <cstddef>

#include "event/email_event.h"
#include "host/config.h"

namespace postbus {

class Router {
 public:
  // REQUIRES: every name in config.routes is a transport of config, and there is a route (config_load has checked).
  explicit Router(const Config& config);

  // Index into config.transports.
  size_t Choose(const EmailEvent& event) const;

 private:
  size_t transport_ = 0;
};

}  // namespace postbus
