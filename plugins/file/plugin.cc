// plugins/file - the transport `file`: one .eml a mail, for trying things out.
#include "plugins/file/transport.h"

namespace postbus::file {

constexpr sdk::About kAbout{.id = "file",
                            .version = "0.1.0",
                            .summary = "Writes each mail as an .eml file into a directory.",
                            .caps = POSTBUS_TRANSPORT_WANTS_RAW | POSTBUS_TRANSPORT_TEST_ONLY};

}  // namespace postbus::file

POSTBUS_EXPORT_TRANSPORT(postbus::file::FileTransport, postbus::file::kAbout, postbus::file::kOptions);
