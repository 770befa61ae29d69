// plugins/mailtrap/plugin.cc - what the Mailtrap transport can be configured with, and its entry.
#include "plugins/mailtrap/transport.h"

namespace postbus::mailtrap {

constexpr sdk::About kAbout{.id = "mailtrap",
                            .version = "0.1.0",
                            .summary = "Hands mails to Mailtrap by its sending API.",
                            .caps = POSTBUS_TRANSPORT_WANTS_PARTS};

}  // namespace postbus::mailtrap

POSTBUS_EXPORT_TRANSPORT(postbus::mailtrap::Transport, postbus::mailtrap::kAbout, postbus::mailtrap::kOptions);
