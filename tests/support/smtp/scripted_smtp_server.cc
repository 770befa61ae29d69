#include "tests/support/smtp/scripted_smtp_server.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <optional>
#include <string_view>
#include <thread>
#include <utility>

namespace postbus::testing {
namespace {

constexpr size_t kMaxClearText = 1 << 20;

bool IsCode(std::string_view action) {
  return action.size() == 3 && std::all_of(action.begin(), action.end(), [](char c) { return c >= '0' && c <= '9'; });
}

std::string ReplyOf(std::string_view code) {
  static const std::map<std::string_view, std::string_view> kTexts = {
      {"421", "421 4.3.2 closing"},
      {"450", "450 4.2.1 <bob@example.org>: mailbox busy"},
      {"451", "451 4.3.0 try again later"},
      {"452", "452 4.5.3 too many recipients"},
      {"535", "535 5.7.8 Too many connections per account"},
      {"550", "550 5.1.1 <bob@example.org>: Recipient address rejected"},
      {"554", "554 5.7.1 refused"}};
  const auto found = kTexts.find(code);
  return (found == kTexts.end() ? std::string(code) + " as you wish" : std::string(found->second)) + "\r\n";
}

std::string_view LocalPart(std::string_view address) { return address.substr(0, address.find('@')); }

// The action of `mail-451-7@x` at phase "mail"; empty: none.
std::string ActionAt(std::string_view phase, std::string_view address) {
  std::string_view local = LocalPart(address);
  if (!local.starts_with(phase) || local.size() <= phase.size() || local[phase.size()] != '-') return {};
  local.remove_prefix(phase.size() + 1);
  return std::string(local.substr(0, local.find('-')));
}

std::string AddressIn(std::string_view command) {
  const size_t open = command.find('<');
  const size_t close = command.find('>', open);
  if (open == std::string_view::npos || close == std::string_view::npos) return {};
  return std::string(command.substr(open + 1, close - open - 1));
}

std::string MessageIdIn(const std::string& raw) {
  const size_t at = raw.find("Message-ID: ");
  if (at == std::string::npos) return {};
  return raw.substr(at + 12, raw.find_first_of("\r\n", at) - at - 12);
}

struct FreeSsl {
  void operator()(SSL* ssl) const { SSL_free(ssl); }
  void operator()(SSL_CTX* context) const { SSL_CTX_free(context); }
};

// Thrown inside a connection's thread to end it.
struct Closed {
  bool reset = false;
};

}  // namespace

struct ScriptedSmtpServer::Impl {
  explicit Impl(ScriptedSmtpOptions wanted) : options(std::move(wanted)) {
    if (options.certificate.certificate.empty()) return;
    tls.reset(SSL_CTX_new(TLS_server_method()));
    if (options.old_tls) {
      SSL_CTX_set_security_level(tls.get(), 0);
      SSL_CTX_set_max_proto_version(tls.get(), TLS1_1_VERSION);
    }
    if (SSL_CTX_use_certificate_file(tls.get(), options.certificate.certificate.c_str(), SSL_FILETYPE_PEM) != 1 ||
        SSL_CTX_use_PrivateKey_file(tls.get(), options.certificate.key.c_str(), SSL_FILETYPE_PEM) != 1) {
      std::abort();
    }
  }

  // One connection, on a thread of its own.
  class Dialogue {
   public:
    Dialogue(Impl& server, int fd) : server_(server), fd_(fd) {}

    void Run() {
      try {
        if (server_.options.implicit_tls) StartTls();
        if (!Act(server_.options.greeting)) Say("220 scripted.example.com ESMTP\r\n");
        while (true) OnCommand(ReadLine());
      } catch (const Closed&) {
      }
    }

   private:
    ssize_t Send(std::string_view bytes) {
      if (ssl_ != nullptr) return SSL_write(ssl_.get(), bytes.data(), static_cast<int>(bytes.size()));
      const ssize_t n = send(fd_, bytes.data(), std::min(bytes.size(), out_left_), MSG_NOSIGNAL);
      out_left_ -= static_cast<size_t>(std::max<ssize_t>(n, 0));
      if (out_left_ == 0) Cut();
      return n;
    }

    ssize_t Receive(char* buffer, size_t size) {
      if (ssl_ != nullptr) {
        const int n = SSL_read(ssl_.get(), buffer, static_cast<int>(size));
        return n > 0 ? n : errno == ECONNRESET ? -1 : 0;
      }
      if (in_left_ == 0) Cut();
      const ssize_t n = recv(fd_, buffer, std::min(size, in_left_), 0);
      if (n > 0) server_.NoteClear({buffer, static_cast<size_t>(n)});
      in_left_ -= static_cast<size_t>(std::max<ssize_t>(n, 0));
      return n;
    }

    // Takes what is still to come, so that the kernel does not make an RST of the FIN, which would overtake the
    // replies.
    [[noreturn]] void Cut() {
      shutdown(fd_, SHUT_WR);
      char rest[4096];
      while (recv(fd_, rest, sizeof rest, 0) > 0) {
      }
      throw Closed{};
    }

    void StartTls() {
      Flush();
      if (!server_.options.handshake.empty()) {
        pollfd begun = {.fd = fd_, .events = POLLIN, .revents = 0};
        poll(&begun, 1, -1);
        Act(server_.options.handshake);
        Flush();
        Hang();
      }
      ssl_.reset(SSL_new(server_.tls.get()));
      SSL_set_fd(ssl_.get(), fd_);
      if (SSL_accept(ssl_.get()) != 1) throw Closed{};
      if (const char* name = SSL_get_servername(ssl_.get(), TLSEXT_NAMETYPE_host_name); name != nullptr) {
        server_.NoteServerName(name);
      }
    }

    void Flush() {
      std::string_view left = out_;
      while (!left.empty()) {
        const ssize_t n = Send(left);
        if (n <= 0) throw Closed{};
        left.remove_prefix(static_cast<size_t>(n));
      }
      out_.clear();
    }
    void Say(std::string_view text) { out_ += text; }

    // More input; replies go out before it is waited for.
    void Fill() {
      Flush();
      in_.erase(0, std::exchange(at_, 0));
      char buffer[65536];
      errno = 0;
      const ssize_t n = Receive(buffer, sizeof buffer);
      if (n <= 0) throw Closed{.reset = n < 0};
      in_.append(buffer, static_cast<size_t>(n));
    }

    std::string ReadLine() {
      while (true) {
        const size_t end = server_.options.any_line_end ? in_.find_first_of("\r\n", at_) : in_.find("\r\n", at_);
        if (end != std::string::npos) {
          std::string line = in_.substr(at_, end - at_);
          at_ = end + (in_.compare(end, 2, "\r\n") == 0 ? 2 : 1);
          return line;
        }
        Fill();
      }
    }

    // False: there is nothing out of the ordinary to do.
    bool Act(const std::string& action) {
      if (action.empty()) return false;
      if (IsCode(action)) {
        Say(ReplyOf(action));
        if (action != "421") return true;
        Flush();
        throw Closed{};
      }
      if (action == "garbage") {
        Say("HTTP/1.1 400 Bad Request\r\n\r\n");
        Flush();
        Hang();
      }
      if (action == "half") {
        Say("25");
        Flush();
        throw Closed{};
      }
      Flush();
      if (action == "hang") Hang();
      if (action == "rst") {
        const linger hard = {.l_onoff = 1, .l_linger = 0};
        setsockopt(fd_, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
      }
      throw Closed{};  // fin, rst
    }

    // Neither reads nor answers until the client gives up.
    [[noreturn]] void Hang() {
      pollfd closed = {.fd = fd_, .events = POLLRDHUP, .revents = 0};
      while (poll(&closed, 1, -1) < 0 && errno == EINTR) {
      }
      throw Closed{};
    }

    void OnCommand(const std::string& line) {
      server_.Note(line);
      std::string verb = line.substr(0, 4);
      std::transform(verb.begin(), verb.end(), verb.begin(), [](unsigned char c) { return std::toupper(c); });
      if (verb == "EHLO") {
        if (Act(server_.options.ehlo)) return;
        std::vector<std::string> lines = {"scripted.example.com"};
        lines.insert(lines.end(), server_.options.extensions.begin(), server_.options.extensions.end());
        if (server_.tls != nullptr && ssl_ == nullptr) lines.push_back("STARTTLS");
        for (size_t i = 0; i < lines.size(); ++i) Say((i + 1 < lines.size() ? "250-" : "250 ") + lines[i] + "\r\n");
      } else if (verb == "HELO") {
        Say(server_.options.helo ? "250 scripted.example.com\r\n" : "502 5.5.1 what\r\n");
      } else if (verb == "STAR") {
        if (Act(server_.options.starttls)) return;
        Say("220 2.0.0 go on\r\n" + server_.options.injected);
        StartTls();
      } else if (verb == "AUTH") {
        if (Act(server_.options.auth)) return;
        OnAuth(line);
      } else if (verb == "MAIL") {
        if (server_.options.close_after > 0 && mails_ >= server_.options.close_after) {
          Flush();
          throw Closed{};
        }
        recipients_.clear();
        sender_ = AddressIn(line);
        in_transaction_ = false;
        if (Act(ActionAt("mail", sender_))) return;
        in_transaction_ = true;
        Say("250 2.1.0 Ok\r\n");
      } else if (verb == "RCPT") {
        const std::string address = AddressIn(line);
        if (!in_transaction_) {
          Say("503 5.5.1 need MAIL\r\n");
        } else if (recipients_.size() >= server_.options.max_recipients) {
          Say("452 4.5.3 too many recipients\r\n");
        } else if (!Act(ActionAt("rcpt", address))) {
          recipients_.push_back(address);
          Say("250 2.1.5 Ok\r\n");
        }
      } else if (verb == "DATA") {
        OnData();
      } else if (verb == "RSET") {
        in_transaction_ = false;
        if (!Act(server_.options.reset)) Say("250 2.0.0 Ok\r\n");
      } else if (verb == "QUIT") {
        Say("221 2.0.0 Bye\r\n");
        Flush();
        throw Closed{};
      } else {
        Say("500 5.5.2 what\r\n");
      }
    }

    // Asks for what the client did not say in the command.
    void OnAuth(const std::string& line) {
      const bool login = line == "AUTH LOGIN";
      for (size_t left = login ? 2 : std::count(line.begin(), line.end(), ' ') == 1 ? 1 : 0; left > 0; --left) {
        Say(!login ? "334 \r\n" : left == 2 ? "334 VXNlcm5hbWU6\r\n" : "334 UGFzc3dvcmQ6\r\n");
        server_.Note(ReadLine());
      }
      Say("235 2.7.0 welcome\r\n");
    }

    std::string RecipientsAction(std::string_view phase) const {
      for (const std::string& recipient : recipients_) {
        if (std::string action = ActionAt(phase, recipient); !action.empty()) return action;
      }
      return {};
    }

    void OnData() {
      if (recipients_.empty()) {
        // `data-354`: a server of the kind RFC 2920 3.1 warns of.
        Say(LocalPart(sender_) == "data-354" ? "354 go on\r\n" : "554 5.5.1 no valid recipients\r\n");
        if (LocalPart(sender_) != "data-354") return;
      } else {
        if (Act(RecipientsAction("data"))) {
          in_transaction_ = true;
          return;
        }
        Say("354 go on\r\n");
      }
      in_transaction_ = false;
      const size_t entry = server_.Begin({.message_id = {}, .sender = sender_, .recipients = recipients_, .raw = {}});
      const std::string body_action = RecipientsAction("body");
      if (server_.options.body_pause_ms > 0) {
        Flush();
        std::this_thread::sleep_for(std::chrono::milliseconds(server_.options.body_pause_ms));
      }
      try {
        ReadMail(entry, body_action);
      } catch (const Closed& closed) {
        server_.Broken(entry, closed.reset);
        throw;
      }
    }

    void ReadMail(size_t entry, const std::string& body_action) {
      std::string raw;
      while (true) {
        if (!body_action.empty()) {
          if (at_ == in_.size()) Fill();
          if (Act(body_action)) Flush();
          Hang();
        }
        const std::string line = ReadLine();
        if (line == ".") break;
        raw += line + "\r\n";
      }
      const std::string action = RecipientsAction("dot");
      const bool refused = recipients_.empty();
      server_.Arrived(entry, raw,
                      refused          ? 554
                      : action.empty() ? 250
                      : IsCode(action) ? std::atoi(action.c_str())
                                       : 0);
      if (server_.options.dot_delay_ms > 0) {
        Flush();
        std::this_thread::sleep_for(std::chrono::milliseconds(server_.options.dot_delay_ms));
      }
      ++mails_;
      if (refused) {
        Say("554 5.5.1 no valid recipients\r\n");
      } else if (!Act(action)) {
        Say("250 2.0.0 Ok: queued as S" + std::to_string(entry) + "\r\n");
      }
    }

    Impl& server_;
    const int fd_;
    size_t in_left_ = server_.options.cut_after_in;
    size_t out_left_ = server_.options.cut_after_out;
    std::unique_ptr<SSL, FreeSsl> ssl_;  // once the handshake has begun
    std::string in_;
    size_t at_ = 0;  // what is in front of it is read
    std::string out_;
    std::string sender_;
    std::vector<std::string> recipients_;
    bool in_transaction_ = false;
    uint32_t mails_ = 0;
  };

  void Accept() {
    while (true) {
      const int fd = accept(listener, nullptr, nullptr);
      if (fd < 0) return;
      const int on = 1;
      setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
      const std::lock_guard lock(mutex);
      if (stopping) {
        close(fd);
        return;
      }
      ++accepted;
      const size_t index = fds.size();
      fds.push_back(fd);
      threads.emplace_back([this, fd, index] {
        // OpenSSL writes without MSG_NOSIGNAL; for the client the signal stays what it is.
        sigset_t pipe;
        sigemptyset(&pipe);
        sigaddset(&pipe, SIGPIPE);
        pthread_sigmask(SIG_BLOCK, &pipe, nullptr);
        Dialogue(*this, fd).Run();
        const std::lock_guard guard(mutex);
        close(fd);
        fds[index] = -1;
      });
    }
  }

  void Note(const std::string& command) {
    const std::lock_guard lock(mutex);
    commands.push_back(command);
  }
  void NoteClear(std::string_view bytes) {
    const std::lock_guard lock(mutex);
    if (clear_text.size() < kMaxClearText) clear_text += bytes;
  }
  void NoteServerName(std::string_view name) {
    const std::lock_guard lock(mutex);
    server_name = name;
  }
  size_t Begin(LedgerEntry entry) {
    const std::lock_guard lock(mutex);
    ledger.push_back(std::move(entry));
    return ledger.size() - 1;
  }
  void Arrived(size_t index, std::string raw, int reply) {
    const std::lock_guard lock(mutex);
    LedgerEntry& entry = ledger[index];
    entry.message_id = MessageIdIn(raw);
    entry.raw = std::move(raw);
    entry.data_complete = true;
    entry.reply = reply;
  }

  void Broken(size_t index, bool reset) {
    const std::lock_guard lock(mutex);
    ledger[index].reset = reset;
  }

  void Stop() {
    {
      const std::lock_guard lock(mutex);
      if (stopping) return;
      stopping = true;
      shutdown(listener, SHUT_RDWR);
      for (const int fd : fds) {
        if (fd >= 0) shutdown(fd, SHUT_RDWR);
      }
    }
    acceptor.join();
    close(listener);
    for (std::thread& thread : threads) thread.join();
  }

  const ScriptedSmtpOptions options;
  std::unique_ptr<SSL_CTX, FreeSsl> tls;
  int listener = -1;
  uint16_t port = 0;
  std::thread acceptor;

  std::mutex mutex;  // guards what follows
  bool stopping = false;
  std::vector<int> fds;
  std::vector<std::thread> threads;  // grows under the mutex; joined when nothing is accepted any more
  size_t accepted = 0;
  std::vector<LedgerEntry> ledger;
  std::vector<std::string> commands;
  std::string clear_text;
  std::string server_name;
};

ScriptedSmtpServer::ScriptedSmtpServer(ScriptedSmtpOptions options)
    : impl_(std::make_unique<Impl>(std::move(options))) {
  impl_->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (const int bytes = impl_->options.receive_buffer; bytes > 0) {
    setsockopt(impl_->listener, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes);
  }
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  if (bind(impl_->listener, reinterpret_cast<sockaddr*>(&address), size) != 0 || listen(impl_->listener, 512) != 0 ||
      getsockname(impl_->listener, reinterpret_cast<sockaddr*>(&address), &size) != 0) {
    std::abort();
  }
  impl_->port = ntohs(address.sin_port);
  impl_->acceptor = std::thread([impl = impl_.get()] { impl->Accept(); });
}

ScriptedSmtpServer::~ScriptedSmtpServer() { impl_->Stop(); }

uint16_t ScriptedSmtpServer::port() const { return impl_->port; }

std::vector<LedgerEntry> ScriptedSmtpServer::ledger() const {
  const std::lock_guard lock(impl_->mutex);
  return impl_->ledger;
}

std::vector<LedgerEntry> ScriptedSmtpServer::complete() const {
  std::vector<LedgerEntry> entries = ledger();
  std::erase_if(entries, [](const LedgerEntry& entry) { return !entry.data_complete; });
  return entries;
}

size_t ScriptedSmtpServer::connections() const {
  const std::lock_guard lock(impl_->mutex);
  return impl_->accepted;
}

std::vector<std::string> ScriptedSmtpServer::commands() const {
  const std::lock_guard lock(impl_->mutex);
  return impl_->commands;
}

std::string ScriptedSmtpServer::clear_text() const {
  const std::lock_guard lock(impl_->mutex);
  return impl_->clear_text;
}

std::string ScriptedSmtpServer::server_name() const {
  const std::lock_guard lock(impl_->mutex);
  return impl_->server_name;
}

void ScriptedSmtpServer::Stop() { impl_->Stop(); }

}  // namespace postbus::testing
