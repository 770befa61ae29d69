// tests/api/http_client.h - a blocking HTTP client over a plain socket, for tests that want to see every byte.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <string>
#include <string_view>

namespace postbus {

class HttpClient {
 public:
  explicit HttpClient(uint16_t port) : fd_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    const timeval limit{.tv_sec = 10, .tv_usec = 0};
    setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    connected_ = connect(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
  }
  ~HttpClient() { close(fd_); }
  HttpClient(const HttpClient&) = delete;
  HttpClient& operator=(const HttpClient&) = delete;

  bool connected() const { return connected_; }
  void Send(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t n = send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (n <= 0) return;
      bytes.remove_prefix(static_cast<size_t>(n));
    }
  }

  // One answer, header and body; "" if the server closed.
  std::string Receive() {
    size_t end = buffer_.find("\r\n\r\n");
    while (end == std::string::npos) {
      if (!More()) return {};
      end = buffer_.find("\r\n\r\n");
    }
    const size_t at = buffer_.find("Content-Length: ");
    const size_t length = at < end ? std::stoul(buffer_.substr(at + 16)) : 0;
    while (buffer_.size() < end + 4 + length) {
      if (!More()) return {};
    }
    std::string answer = buffer_.substr(0, end + 4 + length);
    buffer_.erase(0, answer.size());
    return answer;
  }
  // The server closes within the time limit.
  bool Closed() {
    while (More()) {
    }
    return closed_;
  }

  std::string Post(std::string_view path, std::string_view body, std::string_view type = "application/json",
                   std::string_view more = "") {
    std::string request = "POST " + std::string(path) + " HTTP/1.1\r\nHost: x\r\nContent-Type: " + std::string(type) +
                          "\r\nContent-Length: " + std::to_string(body.size()) + "\r\n" + std::string(more) + "\r\n";
    Send(request + std::string(body));
    return Receive();
  }
  std::string Get(std::string_view path, std::string_view method = "GET") {
    Send(std::string(method) + " " + std::string(path) + " HTTP/1.1\r\nHost: x\r\n\r\n");
    return Receive();
  }

 private:
  bool More() {
    char bytes[4096];
    const ssize_t n = recv(fd_, bytes, sizeof bytes, 0);
    closed_ = n == 0 || (n < 0 && errno == ECONNRESET);
    if (n <= 0) return false;
    buffer_.append(bytes, static_cast<size_t>(n));
    return true;
  }

  const int fd_;
  bool connected_ = false;
  bool closed_ = false;
  std::string buffer_;
};

inline int StatusOf(std::string_view answer) {
  return answer.starts_with("HTTP/1.1 ") ? std::stoi(std::string(answer.substr(9, 3))) : 0;
}
inline std::string_view BodyOf(std::string_view answer) {
  const size_t end = answer.find("\r\n\r\n");
  return end == answer.npos ? std::string_view() : answer.substr(end + 4);
}

}  // namespace postbus
