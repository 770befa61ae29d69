// plugins/smtp/connection.h - a Session on a TCP socket, in the clear or by TLS: connects, reads, writes, watches
// the timeouts.
// Single-threaded: everything runs on the thread of its io_context. The owner must outlive it, and no handler may run
// after it is gone.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>

#include "plugins/smtp/session.h"

namespace boost::asio {
class io_context;
}

namespace postbus::smtp {

class TlsContext;

struct Settings {
  std::string host;
  uint16_t port = 0;
  SessionOptions session;
  std::shared_ptr<const TlsContext> tls;  // REQUIRES: not null unless session.tls is kNone
  int64_t connect_timeout_ms = 0;
  std::array<int64_t, kWaits> timeouts_ms{};  // by Wait; of kNothing: how long an idle connection is kept
  int64_t max_connection_age_ms = 0;
  uint32_t max_messages_per_connection = 0;
};

class Connection;

class ConnectionOwner : public SessionListener {
 public:
  // Something moved: look at state() and session(). May be called from within a function of the connection.
  virtual void OnConnectionEvent(Connection& connection) = 0;
  // It had nothing to do for the idle timeout.
  virtual void OnIdleTimeout(Connection& connection) = 0;
  virtual int64_t NowMs() const = 0;
};

class Connection {
 public:
  enum class State : uint8_t {
    kFree,        // may be connected (again)
    kConnecting,  // name resolution and connect
    kOpen,        // the session's state says the rest
    kFailed,      // failure() says why; Close it
    kClosing,     // operations are still to come back
  };

  // `id` is the owner's.
  Connection(boost::asio::io_context& io, const Settings& settings, ConnectionOwner& owner, size_t id);
  ~Connection();

  size_t id() const { return id_; }
  State state() const { return state_; }
  Session& session() { return session_; }
  // Why it could not be opened; of a state or session that failed.
  const Session::Failure& failure() const {
    return connect_failure_.text.empty() ? session_.failure() : connect_failure_;
  }

  // REQUIRES: state() is kFree.
  void Connect(int64_t now_ms);
  // Writes what the session has to write, as far as the kernel takes it; the rest follows by itself.
  void Flush();
  // The host's answer for session().wants_permit(), given at `now_ms`; followed by Flush it is used at once.
  void Permit(bool go, int64_t now_ms);
  void Quit();
  // At once; with RST if the session says so.
  void Close();
  // Checks timeouts; to be called every 100 ms or so.
  void Tick(int64_t now_ms);
  int64_t opened_ms() const { return opened_ms_; }
  // When Tick last saw something move.
  int64_t moved_ms() const { return since_ms_; }

 private:
  struct Io;
  void Handshake();
  void Await(bool readable, void (Connection::*then)());
  void StartRead();
  void ReadTls();
  // Reads on, or goes over to TLS where it is time for that.
  void Continue();
  void FlushTls(std::span<const std::string_view> output);
  void WaitWritable();
  void OnConnected(bool loopback);
  void FailConnect(std::string_view reason);
  void OperationEnded();

  const Settings& settings_;
  ConnectionOwner& owner_;
  const size_t id_;
  Session session_;
  Session::Failure connect_failure_;
  State state_ = State::kFree;
  bool wants_writable_ = false;
  bool write_failed_ = false;
  int operations_ = 0;  // started and not come back
  int64_t opened_ms_ = 0;
  int64_t permitted_ms_ = 0;
  // Timeouts without a timer a phase: when did Tick last see something move?
  Wait seen_wait_ = Wait::kNothing;
  uint64_t seen_progress_ = 0;
  int64_t since_ms_ = 0;
  std::unique_ptr<Io> io_;
};

}  // namespace postbus::smtp
