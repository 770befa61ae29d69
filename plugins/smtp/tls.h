// plugins/smtp/tls.h - TLS for connections to one server: TLS 1.2 or newer, the server's certificate verified against
// its host name. OpenSSL straight on a non-blocking socket, so that what counts as written is what the kernel took as a
// whole record: no server can read a part of one.
//
// TlsContext: any thread. TlsStream: one thread. The context must outlive its streams.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace postbus::smtp {

class TlsContext {
 public:
  // `host` is what the certificate must be for, a name or an IP address. `ca_file` (PEM) replaces the system's
  // certificates where it is not empty. std::runtime_error with a sentence where it cannot be used.
  TlsContext(std::string host, const std::string& ca_file);
  ~TlsContext();

 private:
  friend class TlsStream;
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

class TlsStream {
 public:
  enum class Status {
    kDone,
    kWantRead,   // again when the socket is readable
    kWantWrite,  // again when it is writable
    kClosed,     // by the server
    kFailed,     // error() says why
  };

  // REQUIRES: `fd` is connected and non-blocking, and stays so as long as this is used.
  TlsStream(const TlsContext& context, int fd);
  ~TlsStream();

  // Until it is kDone. What fails is the server's certificate or its TLS.
  Status Handshake();
  // REQUIRES of all below: the handshake is done.
  Status Read(std::span<char> buffer, size_t& n);
  // Writes bytes from the front of `pieces`, one TLS record at most. kWantWrite: nothing counts as written, and the
  // next call must find the same bytes in front.
  Status Write(std::span<const std::string_view> pieces, size_t& n);
  // Tells the server that this is the end, where the socket takes it.
  void Close();

  const std::string& error() const { return error_; }

 private:
  Status Failed(int result, std::string_view what);

  struct Impl;
  std::unique_ptr<Impl> impl_;
  std::string error_;
};

}  // namespace postbus::smtp
