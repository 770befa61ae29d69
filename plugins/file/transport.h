// plugins/file/transport.h - writes each mail as one .eml file into a directory.
//
// The name is the event's id and a hash of id and envelope recipients: <id>-<16 hex digits>.eml. It does not depend on
// the attempt, so an attempt that is repeated after IN_DOUBT overwrites its own file: two copies of a mail are one
// file.
#pragma once

#include <array>
#include <string>

#include "plugins/output_directory.h"
#include "postbus/blocking_transport.hpp"

namespace postbus::file {

inline constexpr std::array kOptions = {
    sdk::PathOption("directory", "Where the .eml files go; made if it is not there.").Required(),
    sdk::BooleanOption("sync", "Whether a mail counts as sent only when it is on the disk (fsync).").Default("true"),
    sdk::IntegerOption("threads", "Mails written at the same time.").Default("4").Range(1, 64).Unit("threads")};

// Threads: those of BlockingTransport. Files are written under a hidden temporary name and renamed.
class FileTransport : public sdk::BlockingTransport {
 public:
  // Throws std::runtime_error where the directory cannot be made.
  FileTransport(sdk::Host host, const sdk::Options& options);

  bool Probe(int64_t deadline_ms, std::string& report) override;

 protected:
  sdk::Outcome Send(const postbus_mail& mail) override;

 private:
  sdk::Outcome Fault(const char* what, int error) const;

  const OutputDirectory directory_;
  const bool sync_;
};

// The name of the mail's file.
std::string FileName(const postbus_mail& mail);

}  // namespace postbus::file
