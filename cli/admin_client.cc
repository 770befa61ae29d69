#include "cli/admin_client.h"

#include <netdb.h>
#include <rapidjson/document.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <array>
#include <memory>

namespace postbus {
namespace {

constexpr timeval kPatience{.tv_sec = 10, .tv_usec = 0};
constexpr size_t kMostBytes = 64 * 1024;

class Socket {
 public:
  explicit Socket(int fd) : fd_(fd) {}
  ~Socket() {
    if (fd_ >= 0) close(fd_);
  }
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;
  int fd() const { return fd_; }

 private:
  const int fd_;
};

bool Connect(const ListenConfig& admin, std::unique_ptr<Socket>& connection) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  if (getaddrinfo(admin.address.c_str(), std::to_string(admin.port).c_str(), &hints, &found) != 0) return false;
  const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> owner(found, freeaddrinfo);
  connection = std::make_unique<Socket>(socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
  setsockopt(connection->fd(), SOL_SOCKET, SO_RCVTIMEO, &kPatience, sizeof kPatience);
  setsockopt(connection->fd(), SOL_SOCKET, SO_SNDTIMEO, &kPatience, sizeof kPatience);
  return connect(connection->fd(), found->ai_addr, found->ai_addrlen) == 0;
}

// The sentence of a problem (RFC 9457), or the body.
std::string SentenceOf(const std::string& body) {
  rapidjson::Document document;
  document.Parse(body.data(), body.size());
  const bool has =
      !document.HasParseError() && document.IsObject() && document.HasMember("detail") && document["detail"].IsString();
  return has ? document["detail"].GetString() : body;
}

}  // namespace

bool AdminListens(const ListenConfig& admin) {
  std::unique_ptr<Socket> connection;
  return Connect(admin, connection);
}

Result<std::string> PostToAdmin(const ListenConfig& admin, std::string_view path, std::string_view json) {
  const std::string where = admin.address + ":" + std::to_string(admin.port);
  std::unique_ptr<Socket> connection;
  if (!Connect(admin, connection)) {
    return Status::Unavailable("no postbus listens on " + where + " (admin.listen); is the host running?");
  }
  std::string request =
      "POST " + std::string(path) + " HTTP/1.1\r\nHost: " + where +
      "\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: " + std::to_string(json.size()) +
      "\r\n\r\n";
  request += json;
  for (size_t sent = 0; sent < request.size();) {
    const ssize_t n = send(connection->fd(), request.data() + sent, request.size() - sent, MSG_NOSIGNAL);
    if (n <= 0) return Status::Unavailable("the postbus on " + where + " does not take the request");
    sent += static_cast<size_t>(n);
  }
  std::string answer;
  std::array<char, 4096> buffer;
  ssize_t n = 0;
  while (answer.size() < kMostBytes && (n = recv(connection->fd(), buffer.data(), buffer.size(), 0)) > 0) {
    answer.append(buffer.data(), static_cast<size_t>(n));
  }
  const size_t head = answer.find("\r\n\r\n");
  if (!answer.starts_with("HTTP/1.1 ") || head == answer.npos) {
    return Status::Unavailable("no answer from the postbus on " + where + "; it may have done it or not: repeat");
  }
  const std::string body = answer.substr(head + 4);
  if (answer.compare(9, 1, "2") == 0) return body;
  if (answer.compare(9, 1, "5") == 0) return Status::Unavailable(SentenceOf(body));
  return Status::Invalid(SentenceOf(body));
}

}  // namespace postbus
