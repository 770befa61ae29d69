// postbus/direct.h - sends mails as a YAML configuration says: into its queue, or directly, through its renderer and
// transports in this process. Link postbus::direct.
#pragma once

#include <memory>
#include <string>

#include "postbus/sender.h"

namespace postbus {

// By the variable KAFKA_ENABLED: `true` puts mails into the configuration's Kafka, `false` sends them directly, unset
// follows its queue.type. Which it is, is logged. Errors name the place in the file.
Result<std::unique_ptr<Sender>> OpenSender(const std::string& config_file);

// Sends without a queue, by the renderer, transports, routes and defaults of the configuration. `done` hears what
// became of the mail: success when the next hop has it; kInvalid: it is refused for good; kUnavailable: not sent within
// about 10 seconds, the caller may try again; kUncertain: it may have been sent. Nothing is kept: what the process has
// not sent when it dies is gone. The Sender ends its transports: up to 10 s where mails are under way. At most 10 000
// mails wait.
Result<std::unique_ptr<Sender>> OpenDirectSender(const std::string& config_file);

}  // namespace postbus
