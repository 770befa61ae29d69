// plugins/null - the transport `null`: takes every mail and keeps none, for measuring postbus without a mail server.
#include "plugins/null/transport.h"

namespace postbus::null {

constexpr sdk::About kAbout{.id = "null",
                            .version = "0.1.0",
                            .summary = "Accepts every mail and throws it away.",
                            .caps = POSTBUS_TRANSPORT_WANTS_RAW | POSTBUS_TRANSPORT_TEST_ONLY};

}  // namespace postbus::null

POSTBUS_EXPORT_TRANSPORT(postbus::null::NullTransport, postbus::null::kAbout, postbus::null::kOptions);
