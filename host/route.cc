#include "host/route.h"

#include <algorithm>

namespace postbus {

Router::Router(const Config& config) {
  const auto& name = config.routes.back().use.front();
  const auto found = std::find_if(config.transports.begin(), config.transports.end(),
                                  [&](const TransportConfig& transport) { return transport.name == name; });
  transport_ = static_cast<size_t>(found - config.transports.begin());
}

size_t Router::Choose(const EmailEvent&) const { return transport_; }

}  // namespace postbus
