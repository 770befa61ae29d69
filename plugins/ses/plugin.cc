// plugins/ses/plugin.cc - what the Amazon SES transport can be configured with, and its entry.
#include "plugins/ses/transport.h"

namespace postbus::ses {

constexpr sdk::About kAbout{.id = "ses",
                            .version = "0.1.0",
                            .summary = "Hands mails to Amazon SES by its v2 API, as raw messages.",
                            .caps = POSTBUS_TRANSPORT_WANTS_RAW};

}  // namespace postbus::ses

POSTBUS_EXPORT_TRANSPORT(postbus::ses::Transport, postbus::ses::kAbout, postbus::ses::kOptions);
