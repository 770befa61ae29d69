// plugins/sendgrid/plugin.cc - what the SendGrid transport can be configured with, and its entry.
#include "plugins/sendgrid/transport.h"

namespace postbus::sendgrid {

constexpr sdk::About kAbout{.id = "sendgrid",
                            .version = "0.1.0",
                            .summary = "Hands mails to Twilio SendGrid by its v3 Mail Send API.",
                            .caps = POSTBUS_TRANSPORT_WANTS_PARTS};

}  // namespace postbus::sendgrid

POSTBUS_EXPORT_TRANSPORT(postbus::sendgrid::Transport, postbus::sendgrid::kAbout, postbus::sendgrid::kOptions);
