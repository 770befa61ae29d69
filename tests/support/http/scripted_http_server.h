// tests/support/http/scripted_http_server.h - an HTTP/1.1 server on loopback, without TLS, that answers as it is told
// and keeps what came. For transports built on HttpTransport; the real APIs over TLS are tests/support/providers.
//
// One thread a connection; the script is called on it. The destructor closes every connection and joins the threads.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace postbus::testing {

struct HttpServerRequest {
  size_t connection = 0;  // 0 = the first
  std::string head;       // request line and header fields
  std::string body;
};

class ScriptedHttpServer {
 public:
  // The whole answer; "" closes the connection without one; nullopt leaves the client waiting.
  using Script = std::function<std::optional<std::string>(const HttpServerRequest&)>;
  // Looks at the head only: true closes the connection before the body is read.
  using CloseEarly = std::function<bool(const HttpServerRequest&)>;

  explicit ScriptedHttpServer(Script script, CloseEarly close_early = nullptr)
      : script_(std::move(script)), close_early_(std::move(close_early)) {
    listener_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    if (::bind(listener_, reinterpret_cast<sockaddr*>(&address), size) != 0 || ::listen(listener_, 100) != 0 ||
        ::getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size) != 0) {
      throw std::runtime_error("no port to listen on");
    }
    port_ = ntohs(address.sin_port);
    acceptor_ = std::thread([this] { Accept(); });
  }
  ~ScriptedHttpServer() {
    stopping_ = true;
    ::shutdown(listener_, SHUT_RDWR);
    acceptor_.join();
    {
      const std::lock_guard lock(mutex_);
      for (const int fd : sockets_) ::shutdown(fd, SHUT_RDWR);
    }
    for (std::thread& thread : threads_) thread.join();
    for (const int fd : sockets_) ::close(fd);
    ::close(listener_);
  }

  std::string url() const { return "http://127.0.0.1:" + std::to_string(port_); }
  std::vector<HttpServerRequest> requests() const {
    const std::lock_guard lock(mutex_);
    return requests_;
  }

  static std::string Answer(int status, const std::string& body, const std::string& headers = "") {
    return "HTTP/1.1 " + std::to_string(status) + " X\r\n" + headers +
           "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
  }

 private:
  void Accept() {
    for (size_t number = 0;; ++number) {
      const int fd = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
      if (fd < 0) return;
      const std::lock_guard lock(mutex_);
      sockets_.push_back(fd);
      threads_.emplace_back([this, fd, number] { Serve(fd, number); });
    }
  }

  void Serve(int fd, size_t number) {
    std::string buffer;
    while (true) {
      size_t head_end = std::string::npos;
      while ((head_end = buffer.find("\r\n\r\n")) == std::string::npos) {
        if (!Read(fd, buffer)) return;
        if (buffer[0] == kTlsHandshake) {
          ::shutdown(fd, SHUT_RDWR);
          return;
        }
      }
      HttpServerRequest request{.connection = number, .head = buffer.substr(0, head_end + 2), .body = ""};
      buffer.erase(0, head_end + 4);
      if (close_early_ && close_early_(request)) {
        ::shutdown(fd, SHUT_RDWR);
        return;
      }
      const size_t at = request.head.find("Content-Length: ");
      const size_t length = at == std::string::npos ? 0 : std::stoul(request.head.substr(at + 16));
      while (buffer.size() < length) {
        if (!Read(fd, buffer)) return;
      }
      request.body = buffer.substr(0, length);
      buffer.erase(0, length);
      {
        const std::lock_guard lock(mutex_);
        requests_.push_back(request);
      }
      const std::optional<std::string> answer = script_(request);
      if (!answer) continue;  // waits for what the client does next
      if (answer->empty()) {
        ::shutdown(fd, SHUT_RDWR);
        return;
      }
      if (::send(fd, answer->data(), answer->size(), MSG_NOSIGNAL) < 0) return;
    }
  }

  bool Read(int fd, std::string& buffer) const {
    char bytes[16384];
    const ssize_t n = ::recv(fd, bytes, sizeof bytes, 0);
    if (n <= 0 || stopping_) return false;
    buffer.append(bytes, static_cast<size_t>(n));
    return true;
  }

  static constexpr char kTlsHandshake = 22;  // the first byte of a client that wants TLS (RFC 8446, 5.1)

  const Script script_;
  const CloseEarly close_early_;
  int listener_ = -1;
  uint16_t port_ = 0;
  std::atomic<bool> stopping_ = false;
  std::thread acceptor_;
  mutable std::mutex mutex_;  // guards all below
  std::vector<HttpServerRequest> requests_;
  std::vector<int> sockets_;
  std::vector<std::thread> threads_;
};

}  // namespace postbus::testing
