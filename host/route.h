// host/route.h - which transports an event may go by, and in which order. Immutable; thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "event/email_event.h"
#include "host/config.h"

namespace postbus {

// "template is newsletter or weekly* and priority is low"; "": it takes every event.
std::string ConditionText(const RouteMatch& match);

class Router {
 public:
  // REQUIRES: every name in config.routes is a transport of config, and the last route matches all (config_load has
  // checked).
  explicit Router(const Config& config);

  // Fills `order` with indexes into config.transports: the first is the event's, the others are its failover, in this
  // order. Returns the route's index in config.routes. The same event gets the same order, and so does another one to
  // the same first recipient.
  size_t Choose(const EmailEvent& event, std::vector<uint32_t>& order) const;

 private:
  struct Route {
    RouteMatch match;
    std::vector<uint32_t> transports;
    std::vector<uint32_t> weights;  // of a split, else empty
    uint64_t total_weight = 0;
  };

  std::vector<Route> routes_;
};

}  // namespace postbus
