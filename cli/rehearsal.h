// cli/rehearsal.h - what would become of an event. It takes the host's own way, on a queue in memory and with each
// transport replaced by one that writes into a temporary directory: nothing leaves this process.
#pragma once

#include <string>
#include <vector>

#include "event/status.h"
#include "host/config.h"
#include "queue/queue.h"

namespace postbus {

struct Rehearsed {
  std::vector<std::string> mails;  // as the transport would get them (RFC 5322)
  Status refusal;                  // why some recipient, or all, would not get it
};

// Blocks, at most half a minute. The error says why it could not be tried at all, e.g. a template that does not load.
Result<Rehearsed> Rehearse(const Config& config, const NewEvent& event);

}  // namespace postbus
