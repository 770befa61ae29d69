#include "plugins/file/transport.h"

#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <string_view>

namespace postbus::file {
namespace {

// FNV-1a, 64 bits: tells recipients of one event apart; nobody profits from a collision.
class Hash {
 public:
  void Add(std::string_view bytes) {
    for (const char byte : bytes) Mix(static_cast<uint8_t>(byte));
    Mix(0);
  }
  std::string Hex() const {
    std::string hex(16, '0');
    for (size_t i = 0; i < hex.size(); ++i) hex[i] = "0123456789abcdef"[(value_ >> (60 - 4 * i)) & 0xF];
    return hex;
  }

 private:
  void Mix(uint8_t byte) { value_ = (value_ ^ byte) * 0x100000001b3; }
  uint64_t value_ = 0xcbf29ce484222325;
};

}  // namespace

std::string FileName(const postbus_mail& mail) {
  Hash hash;
  hash.Add(sdk::View(mail.event_id));
  for (uint32_t i = 0; i < mail.n_recipients; ++i) hash.Add(sdk::View(mail.recipients[i]));
  std::string name;
  for (const char c : sdk::View(mail.event_id)) {
    const bool is_safe = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' ||
                         c == '-' || (c == '.' && !name.empty());
    name += is_safe ? c : '_';
  }
  constexpr size_t kMaxIdInName = 128;
  return name.substr(0, kMaxIdInName) + "-" + hash.Hex() + ".eml";
}

FileTransport::FileTransport(sdk::Host host, const sdk::Options& options)
    : BlockingTransport(host, options.Integer("threads")),
      directory_(options.Path("directory")),
      sync_(options.Boolean("sync")) {}

bool FileTransport::Probe(int64_t /*deadline_ms*/, std::string& report) {
  const std::string name = ".probe." + std::to_string(::getpid()) + ".tmp";
  const int error = directory_.WriteFile(name, "probe\n", sync_);
  if (error != 0) {
    report = "cannot write into " + directory_.path() + ": " + Reason(error);
    return false;
  }
  directory_.RemoveFile(name);
  return true;
}

sdk::Outcome FileTransport::Send(const postbus_mail& mail) {
  const std::string name = FileName(mail);
  const std::string temporary =
      "." + name + "." + std::to_string(::getpid()) + "-" + std::to_string(mail.token) + ".tmp";
  if (const int error = directory_.WriteFile(temporary, sdk::View(mail.raw), sync_); error != 0) {
    return Fault("cannot write into the directory", error);
  }
  // The point of no return is the rename, and a busy disk may have taken longer than a permission lasts.
  if (!PermitSend(mail)) {
    directory_.RemoveFile(temporary);
    return sdk::Outcome::NotSent("the host did not permit it");
  }
  if (::renameat(directory_.fd(), temporary.c_str(), directory_.fd(), name.c_str()) != 0) {
    const int error = errno;
    directory_.RemoveFile(temporary);
    return Fault("cannot rename in the directory", error);
  }
  if (sync_ && ::fsync(directory_.fd()) != 0) {
    return sdk::Outcome::InDoubt("cannot sync the directory: " + Reason(errno)).At(POSTBUS_PHASE_FINAL_DOT);
  }
  return sdk::Outcome::Accepted(name, "written as " + name);
}

// A full disk or a missing right stops every mail, not this one.
sdk::Outcome FileTransport::Fault(const char* what, int error) const {
  return sdk::Outcome::ProviderFault(std::string(what) + " " + directory_.path() + ": " + Reason(error))
      .At(POSTBUS_PHASE_BODY);
}

}  // namespace postbus::file
