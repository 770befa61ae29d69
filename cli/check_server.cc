#include "cli/check_server.h"

#include <arpa/inet.h>
#include <poll.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <stdexcept>
#include <string>

#include "event/clock.h"

namespace postbus {
namespace {

constexpr int64_t kGreetAfterMs = 100;  // an HTTP client has spoken by then, mostly
constexpr int kTickMs = 20;

bool StartsWith(std::string_view line, std::string_view word) {
  return line.size() >= word.size() && ::strncasecmp(line.data(), word.data(), word.size()) == 0;
}

// The value of a header field, with its blanks; npos-safe. Empty where there is none.
std::string_view Field(std::string_view head, std::string_view name) {
  for (size_t at = head.find("\r\n"); at != head.npos; at = head.find("\r\n", at + 2)) {
    const std::string_view line = head.substr(at + 2, head.find("\r\n", at + 2) - at - 2);
    if (StartsWith(line, name) && line.size() > name.size() && line[name.size()] == ':') {
      return line.substr(name.size() + 1);
    }
  }
  return {};
}

// The size of the first request in `text`, or 0 if it is not whole yet.
size_t WholeRequest(std::string_view text) {
  const size_t end = text.find("\r\n\r\n");
  if (end == text.npos) return 0;
  const std::string_view head = text.substr(0, end + 2);
  const size_t body = end + 4;
  if (Field(head, "Transfer-Encoding").find("chunked") != std::string_view::npos) {
    const size_t last = text.find("\r\n0\r\n\r\n", end);
    return last == text.npos ? 0 : last + 7;
  }
  std::string_view length = Field(head, "Content-Length");
  length.remove_prefix(std::min(length.find_first_not_of(' '), length.size()));
  size_t size = 0;
  std::from_chars(length.data(), length.data() + length.size(), size);
  return text.size() < body + size ? 0 : body + size;
}

}  // namespace

struct CheckServer::Connection {
  enum class Speech { kUnknown, kHttp, kSmtp, kSmtpData };

  int fd = -1;
  int64_t since_ms = 0;  // accepted, or told of its mail
  Speech speech = Speech::kUnknown;
  std::string in;
  bool told = false;  // of the mail at the front of `in`, whose answer is held
  bool over = false;
};

CheckServer::CheckServer(std::function<void(std::string_view)> on_mail) : on_mail_(std::move(on_mail)) {
  listener_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  if (listener_ < 0 || ::bind(listener_, reinterpret_cast<const sockaddr*>(&address), size) != 0 ||
      ::listen(listener_, 512) != 0 || ::getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size) != 0) {
    throw std::runtime_error("no port on 127.0.0.1 can be listened on");
  }
  port_ = ntohs(address.sin_port);
  thread_ = std::thread([this] { Run(); });
  thread_.detach();
}

void CheckServer::Run() {
  while (true) {
    std::vector<pollfd> ready = {{.fd = listener_, .events = POLLIN, .revents = 0}};
    for (const Connection& connection : connections_) {
      ready.push_back({.fd = connection.fd, .events = POLLIN, .revents = 0});
    }
    ::poll(ready.data(), ready.size(), kTickMs);
    for (size_t i = 0; i < connections_.size(); ++i) {
      if (ready[i + 1].revents != 0 && !Read(connections_[i])) connections_[i].over = true;
      if (!connections_[i].over) Answer(connections_[i]);
    }
    for (const Connection& connection : connections_) {
      if (connection.over) ::close(connection.fd);
    }
    std::erase_if(connections_, [](const Connection& connection) { return connection.over; });
    Accept();
  }
}

void CheckServer::Accept() {
  while (true) {
    const int fd = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0) return;
    Connection& connection = connections_.emplace_back();
    connection.fd = fd;
    connection.since_ms = BootTimeMs();
  }
}

// False: the client is gone.
bool CheckServer::Read(Connection& connection) {
  static std::array<char, 1 << 16> buffer;
  const ssize_t got = ::recv(connection.fd, buffer.data(), buffer.size(), 0);
  if (got <= 0) return false;
  connection.in.append(buffer.data(), static_cast<size_t>(got));
  return true;
}

void CheckServer::Answer(Connection& connection) {
  using Speech = Connection::Speech;
  if (connection.speech == Speech::kUnknown) {
    if (!connection.in.empty()) {
      connection.speech = Speech::kHttp;
    } else if (BootTimeMs() >= connection.since_ms + kGreetAfterMs) {
      connection.speech = Speech::kSmtp;
      Say(connection, "220 check.invalid ESMTP\r\n");
    }
  }
  if (connection.speech == Speech::kUnknown || connection.in.empty()) return;
  while (!connection.over && (connection.speech == Speech::kHttp ? AnswerHttp(connection) : AnswerSmtp(connection))) {
  }
}

// Tells of the mail at the front, once. True: its answer is due.
bool CheckServer::Take(Connection& connection, size_t size) {
  if (!connection.told) {
    on_mail_(std::string_view(connection.in).substr(0, size));
    connection.told = true;
    connection.since_ms = BootTimeMs();
  }
  if (BootTimeMs() < connection.since_ms + hold_ms_) return false;
  connection.told = false;
  connection.in.erase(0, size);
  return true;
}

// One request. False: there is no whole one yet, or its answer is held. So AnswerSmtp.
bool CheckServer::AnswerHttp(Connection& connection) {
  const size_t size = WholeRequest(connection.in);
  if (size == 0 || !Take(connection, size)) return false;
  Say(connection, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 14\r\n\r\n{\"id\":\"check\"}");
  return true;
}

bool CheckServer::AnswerSmtp(Connection& connection) {
  using Speech = Connection::Speech;
  if (connection.speech == Speech::kSmtpData) {
    const size_t end = connection.in.starts_with(".\r\n") ? 0 : connection.in.find("\r\n.\r\n") + 2;
    if (end == std::string::npos + 2 || !Take(connection, end + 3)) return false;
    connection.speech = Speech::kSmtp;
    Say(connection, "250 2.0.0 queued as check\r\n");
    return true;
  }
  const size_t end = connection.in.find("\r\n");
  if (end == std::string::npos) return false;
  const std::string line = connection.in.substr(0, end);
  connection.in.erase(0, end + 2);
  if (StartsWith(line, "EHLO")) {
    Say(connection, "250-check.invalid\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250 SIZE 20000000\r\n");
  } else if (StartsWith(line, "DATA")) {
    connection.speech = Speech::kSmtpData;
    Say(connection, "354 go on\r\n");
  } else if (StartsWith(line, "QUIT")) {
    Say(connection, "221 bye\r\n");
    connection.over = true;
  } else {
    Say(connection, "250 2.0.0 ok\r\n");
  }
  return true;
}

void CheckServer::Say(Connection& connection, std::string_view text) {
  // Answers are short and clients read them: what does not fit into the socket's buffer ends the connection.
  const ssize_t sent = ::send(connection.fd, text.data(), text.size(), MSG_NOSIGNAL);
  connection.over = connection.over || sent != static_cast<ssize_t>(text.size());
}

}  // namespace postbus
