// cli/check_server.h - a server on loopback in the place of a plugin's provider, for plugin checks: speaks as much HTTP
// and SMTP as it takes to get a mail off a client, and tells when a whole mail has come.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace postbus {

// A client that says something at once speaks HTTP; one that waits is greeted with SMTP. Takes every mail. Ends with
// the process: checks run in children that end by _exit.
class CheckServer {
 public:
  // `on_mail` gets each whole HTTP request and SMTP message before it is answered, on the server's thread. Throws
  // std::runtime_error where no port is to be had.
  explicit CheckServer(std::function<void(std::string_view)> on_mail);
  CheckServer(const CheckServer&) = delete;
  CheckServer& operator=(const CheckServer&) = delete;

  uint16_t port() const { return port_; }
  // From now on mails are answered this late. Thread-safe.
  void HoldAnswers(int64_t ms) { hold_ms_ = ms; }

 private:
  struct Connection;

  void Run();
  void Accept();
  bool Read(Connection& connection);
  void Answer(Connection& connection);
  bool Take(Connection& connection, size_t size);
  bool AnswerHttp(Connection& connection);
  bool AnswerSmtp(Connection& connection);
  void Say(Connection& connection, std::string_view text);

  const std::function<void(std::string_view)> on_mail_;
  int listener_ = -1;
  uint16_t port_ = 0;
  std::atomic<int64_t> hold_ms_{0};
  std::vector<Connection> connections_;
  std::thread thread_;
};

}  // namespace postbus
