#include "plugins/smtp/tls.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <stdexcept>
#include <system_error>

namespace postbus::smtp {
namespace {

template <auto kFree>
struct Free {
  template <typename T>
  void operator()(T* object) const {
    kFree(object);
  }
};

// OpenSSL's own socket BIO writes with write(2), which raises SIGPIPE in the host's process where the server is gone.
int FdOf(BIO* bio) { return static_cast<int>(reinterpret_cast<intptr_t>(BIO_get_data(bio))); }

int BioWrite(BIO* bio, const char* data, int size) {
  BIO_clear_retry_flags(bio);
  const ssize_t n = send(FdOf(bio), data, static_cast<size_t>(size), MSG_NOSIGNAL);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) BIO_set_retry_write(bio);
  return static_cast<int>(n);
}

int BioRead(BIO* bio, char* data, int size) {
  BIO_clear_retry_flags(bio);
  const ssize_t n = recv(FdOf(bio), data, static_cast<size_t>(size), 0);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) BIO_set_retry_read(bio);
  return static_cast<int>(n);
}

long BioControl(BIO*, int command, long, void*) { return command == BIO_CTRL_FLUSH ? 1 : 0; }

// Why the last call failed, from the thread's error queue.
std::string Reason() {
  const unsigned long code = ERR_peek_last_error();
  if (ERR_GET_REASON(code) == SSL_R_WRONG_VERSION_NUMBER) return "what the server speaks here is no TLS";
  const char* text = code == 0 ? nullptr : ERR_reason_error_string(code);
  return text == nullptr ? "unknown error" : text;
}

bool IsAddress(const std::string& host) {
  const std::unique_ptr<ASN1_OCTET_STRING, Free<ASN1_OCTET_STRING_free>> address(a2i_IPADDRESS(host.c_str()));
  ERR_clear_error();
  return address != nullptr;
}

constexpr size_t kRecord = SSL3_RT_MAX_PLAIN_LENGTH;

}  // namespace

struct TlsContext::Impl {
  std::string host;
  bool is_address = false;
  std::unique_ptr<SSL_CTX, Free<SSL_CTX_free>> ssl;
  std::unique_ptr<BIO_METHOD, Free<BIO_meth_free>> method;
};

TlsContext::TlsContext(std::string host, const std::string& ca_file) : impl_(std::make_unique<Impl>()) {
  impl_->is_address = IsAddress(host);
  impl_->host = std::move(host);
  impl_->ssl.reset(SSL_CTX_new(TLS_client_method()));
  impl_->method.reset(BIO_meth_new(BIO_TYPE_SOURCE_SINK | BIO_get_new_index(), "postbus socket"));
  SSL_CTX* const ssl = impl_->ssl.get();
  BIO_METHOD* const method = impl_->method.get();
  if (ssl == nullptr || method == nullptr) throw std::runtime_error("OpenSSL cannot be used: " + Reason());
  BIO_meth_set_write(method, &BioWrite);
  BIO_meth_set_read(method, &BioRead);
  BIO_meth_set_ctrl(method, &BioControl);

  SSL_CTX_set_min_proto_version(ssl, TLS1_2_VERSION);
  SSL_CTX_set_options(ssl, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
  SSL_CTX_set_mode(ssl, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
  SSL_CTX_set_read_ahead(ssl, 1);
  SSL_CTX_set_verify(ssl, SSL_VERIFY_PEER, nullptr);
  if (ca_file.empty()) {
    SSL_CTX_set_default_verify_paths(ssl);
  } else if (SSL_CTX_load_verify_file(ssl, ca_file.c_str()) != 1) {
    throw std::runtime_error("tls_ca_file: \"" + ca_file + "\" is no file of certificates in PEM form: " + Reason());
  }
  ERR_clear_error();
}

TlsContext::~TlsContext() = default;

struct TlsStream::Impl {
  std::unique_ptr<SSL, Free<SSL_free>> ssl;
  std::array<char, kRecord> record;  // what is being written
  size_t record_size = 0;            // 0: nothing is
};

TlsStream::TlsStream(const TlsContext& context, int fd) : impl_(std::make_unique<Impl>()) {
  const TlsContext::Impl& from = *context.impl_;
  impl_->ssl.reset(SSL_new(from.ssl.get()));
  SSL* const ssl = impl_->ssl.get();
  BIO* const bio = ssl == nullptr ? nullptr : BIO_new(from.method.get());
  if (bio == nullptr) throw std::bad_alloc();
  BIO_set_data(bio, reinterpret_cast<void*>(static_cast<intptr_t>(fd)));
  BIO_set_init(bio, 1);
  SSL_set_bio(ssl, bio, bio);
  X509_VERIFY_PARAM* const verify = SSL_get0_param(ssl);
  if (from.is_address) {
    X509_VERIFY_PARAM_set1_ip_asc(verify, from.host.c_str());
  } else {
    X509_VERIFY_PARAM_set_hostflags(verify, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    X509_VERIFY_PARAM_set1_host(verify, from.host.c_str(), from.host.size());
    SSL_set_tlsext_host_name(ssl, from.host.c_str());
  }
  SSL_set_connect_state(ssl);
}

TlsStream::~TlsStream() = default;

TlsStream::Status TlsStream::Failed(int result, std::string_view what) {
  SSL* const ssl = impl_->ssl.get();
  const int number = errno;
  switch (SSL_get_error(ssl, result)) {
    case SSL_ERROR_WANT_READ:
      return Status::kWantRead;
    case SSL_ERROR_WANT_WRITE:
      return Status::kWantWrite;
    case SSL_ERROR_ZERO_RETURN:
      return Status::kClosed;
    case SSL_ERROR_SYSCALL:
      if (number == 0) return Status::kClosed;
      error_.assign(what).append(": ").append(std::generic_category().message(number));
      return Status::kFailed;
    default:
      break;
  }
  // No "close notify" in front of the end: SMTP has its own ends of replies, so this cuts off nothing unnoticed.
  if (ERR_GET_REASON(ERR_peek_last_error()) == SSL_R_UNEXPECTED_EOF_WHILE_READING) return Status::kClosed;
  error_.assign(what);
  const long verified = SSL_get_verify_result(ssl);
  switch (verified) {
    case X509_V_OK:
      error_.append(": ").append(Reason());
      break;
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
    case X509_V_ERR_CERT_SIGNATURE_FAILURE:
      error_.append(": the server's certificate is not trusted (").append(X509_verify_cert_error_string(verified));
      error_.append("); if it is signed by a CA of your own set tls_ca_file");
      break;
    case X509_V_ERR_HOSTNAME_MISMATCH:
    case X509_V_ERR_IP_ADDRESS_MISMATCH:
      error_.append(": the server's certificate is for another name; set host to a name that stands in it");
      break;
    default:
      error_.append(": the server's certificate was refused: ").append(X509_verify_cert_error_string(verified));
  }
  return Status::kFailed;
}

TlsStream::Status TlsStream::Handshake() {
  ERR_clear_error();
  errno = 0;
  const int result = SSL_do_handshake(impl_->ssl.get());
  return result == 1 ? Status::kDone : Failed(result, "TLS handshake failed");
}

TlsStream::Status TlsStream::Read(std::span<char> buffer, size_t& n) {
  ERR_clear_error();
  errno = 0;
  const int result = SSL_read_ex(impl_->ssl.get(), buffer.data(), buffer.size(), &n);
  return result == 1 ? Status::kDone : Failed(result, "TLS failed");
}

TlsStream::Status TlsStream::Write(std::span<const std::string_view> pieces, size_t& n) {
  if (impl_->record_size == 0) {
    for (const std::string_view piece : pieces) {
      const size_t taken = std::min(piece.size(), kRecord - impl_->record_size);
      std::memcpy(impl_->record.data() + impl_->record_size, piece.data(), taken);
      impl_->record_size += taken;
    }
  }
  ERR_clear_error();
  errno = 0;
  const int result = SSL_write_ex(impl_->ssl.get(), impl_->record.data(), impl_->record_size, &n);
  if (result != 1) return Failed(result, "TLS failed");
  impl_->record_size = 0;
  return Status::kDone;
}

void TlsStream::Close() {
  ERR_clear_error();
  SSL_shutdown(impl_->ssl.get());
  ERR_clear_error();
}

}  // namespace postbus::smtp
