// plugins/ses-stub - the transport `ses-stub`: answers as Amazon SES would and keeps what it gets on this machine.
#include "plugins/ses-stub/transport.h"

namespace postbus::ses_stub {

constexpr sdk::About kAbout{.id = "ses-stub",
                            .version = "0.1.0",
                            .summary = "Answers as Amazon SES v2 would, and keeps what it gets in a directory.",
                            .caps = POSTBUS_TRANSPORT_WANTS_RAW | POSTBUS_TRANSPORT_TEST_ONLY};

}  // namespace postbus::ses_stub

POSTBUS_EXPORT_TRANSPORT(postbus::ses_stub::SesStubTransport, postbus::ses_stub::kAbout, postbus::ses_stub::kOptions);
