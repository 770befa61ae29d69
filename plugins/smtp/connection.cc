#include "plugins/smtp/connection.h"

#include <algorithm>
#include <boost/asio/connect.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <string_view>

#include "plugins/smtp/tls.h"

namespace postbus::smtp {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;

// A permission lapses after 2 s; this leaves room for a slow machine.
constexpr int64_t kPermitMs = 1500;

// What asio takes as a sequence of buffers.
struct Buffers {
  using value_type = asio::const_buffer;             // NOLINT(readability-identifier-naming): asio's name
  using const_iterator = const asio::const_buffer*;  // NOLINT(readability-identifier-naming)
  const_iterator begin() const { return data.data(); }
  const_iterator end() const { return data.data() + size; }

  std::array<asio::const_buffer, 32> data;
  size_t size = 0;
};

std::string_view WaitName(Wait wait) {
  switch (wait) {
    case Wait::kNothing:
      break;
    case Wait::kGreeting:
      return "no greeting";
    case Wait::kEhlo:
      return "no reply to EHLO";
    case Wait::kTls:
      return "no TLS";
    case Wait::kAuth:
      return "no reply to AUTH";
    case Wait::kMail:
      return "no reply to MAIL";
    case Wait::kRcpt:
      return "no reply to RCPT";
    case Wait::kDataInitiation:
      return "no reply to DATA";
    case Wait::kDataBlock:
      return "the server did not read on";
    case Wait::kDataTermination:
      return "no reply to the final dot";
    case Wait::kQuit:
      return "no reply to QUIT";
  }
  return "nothing";
}

}  // namespace

struct Connection::Io {
  explicit Io(asio::io_context& context) : socket(context), resolver(context) {}

  tcp::socket socket;
  tcp::resolver resolver;
  std::array<char, 4096> buffer;
  std::unique_ptr<TlsStream> tls;  // once the handshake has begun
};

Connection::Connection(asio::io_context& io, const Settings& settings, ConnectionOwner& owner, size_t id)
    : settings_(settings), owner_(owner), id_(id), session_(settings.session, owner), io_(std::make_unique<Io>(io)) {}

Connection::~Connection() = default;

void Connection::Connect(int64_t now_ms) {
  state_ = State::kConnecting;
  connect_failure_ = {};
  wants_writable_ = write_failed_ = false;
  opened_ms_ = since_ms_ = now_ms;
  seen_wait_ = Wait::kNothing;
  seen_progress_ = 0;

  const auto connected = [this](const error_code& error, const tcp::endpoint& peer) {
    --operations_;
    if (state_ == State::kConnecting) {
      if (error) {
        FailConnect(error.message());
      } else {
        OnConnected(peer.address().is_loopback());
      }
    }
    OperationEnded();
  };
  ++operations_;
  error_code not_numeric;
  const auto address = asio::ip::make_address(settings_.host, not_numeric);
  if (!not_numeric) {
    asio::async_connect(io_->socket, std::array<tcp::endpoint, 1>{tcp::endpoint(address, settings_.port)}, connected);
    return;
  }
  io_->resolver.async_resolve(settings_.host, std::to_string(settings_.port), tcp::resolver::numeric_service,
                              [this, connected](const error_code& error, const tcp::resolver::results_type& found) {
                                if (state_ == State::kConnecting && !error) {
                                  asio::async_connect(io_->socket, found, connected);
                                  return;
                                }
                                --operations_;
                                if (state_ == State::kConnecting) FailConnect(error.message());
                                OperationEnded();
                              });
}

void Connection::FailConnect(std::string_view reason) {
  connect_failure_.phase = POSTBUS_PHASE_CONNECT;
  connect_failure_.text.assign("connect to ").append(settings_.host).append(":").append(std::to_string(settings_.port));
  connect_failure_.text.append(": ").append(reason);
  state_ = State::kFailed;
  owner_.OnConnectionEvent(*this);
}

void Connection::OnConnected(bool loopback) {
  error_code ignored;
  io_->socket.non_blocking(true, ignored);
  io_->socket.set_option(tcp::no_delay(true), ignored);
  state_ = State::kOpen;
  session_.Open(loopback);
  Continue();
}

void Connection::Continue() {
  if (state_ != State::kOpen) return;
  if (io_->tls != nullptr) {
    Await(/*readable=*/true, &Connection::ReadTls);
  } else if (session_.wants_tls()) {
    io_->tls = std::make_unique<TlsStream>(*settings_.tls, io_->socket.native_handle());
    Handshake();
  } else {
    StartRead();
  }
}

void Connection::Await(bool readable, void (Connection::*then)()) {
  ++operations_;
  io_->socket.async_wait(readable ? tcp::socket::wait_read : tcp::socket::wait_write, [this, then](const error_code&) {
    --operations_;
    if (state_ == State::kOpen) (this->*then)();
    OperationEnded();
  });
}

void Connection::Handshake() {
  switch (io_->tls->Handshake()) {
    case TlsStream::Status::kWantRead:
      Await(/*readable=*/true, &Connection::Handshake);
      return;
    case TlsStream::Status::kWantWrite:
      Await(/*readable=*/false, &Connection::Handshake);
      return;
    case TlsStream::Status::kDone:
      session_.TlsEstablished();
      owner_.OnConnectionEvent(*this);
      if (state_ == State::kOpen) ReadTls();
      return;
    case TlsStream::Status::kClosed:
      session_.Lost(settings_.session.server + ": the server closed the connection in the TLS handshake");
      break;
    case TlsStream::Status::kFailed:
      session_.Lost(settings_.session.server + ": " + io_->tls->error());
      break;
  }
  owner_.OnConnectionEvent(*this);
}

void Connection::ReadTls() {
  size_t n = 0;
  TlsStream::Status status = TlsStream::Status::kDone;
  // All there is: what OpenSSL holds already does not make the socket readable.
  while (state_ == State::kOpen && session_.state() != Session::State::kFailed) {
    status = io_->tls->Read(io_->buffer, n);
    if (status != TlsStream::Status::kDone) break;
    session_.Receive({io_->buffer.data(), n});
  }
  if (status == TlsStream::Status::kClosed) session_.Lost("the server closed the connection");
  if (status == TlsStream::Status::kFailed) session_.Lost(io_->tls->error());
  owner_.OnConnectionEvent(*this);
  if (status == TlsStream::Status::kWantWrite) {
    if (state_ == State::kOpen) Await(/*readable=*/false, &Connection::ReadTls);
  } else {
    Continue();
  }
}

void Connection::StartRead() {
  ++operations_;
  io_->socket.async_read_some(asio::buffer(io_->buffer), [this](const error_code& error, size_t n) {
    --operations_;
    if (state_ == State::kOpen) {
      if (error) {
        session_.Lost(error == asio::error::eof ? std::string("the server closed the connection") : error.message());
      } else {
        session_.Receive({io_->buffer.data(), n});
      }
      owner_.OnConnectionEvent(*this);
      Continue();
    }
    OperationEnded();
  });
}

void Connection::Flush() {
  while (state_ == State::kOpen && !wants_writable_ && !write_failed_) {
    const std::span<const std::string_view> output = session_.Output();
    if (output.empty()) return;
    if (io_->tls != nullptr) {
      FlushTls(output);
      continue;
    }
    Buffers buffers;
    for (const std::string_view piece : output) buffers.data[buffers.size++] = asio::buffer(piece);
    error_code error;
    const size_t n = io_->socket.write_some(buffers, error);
    if (error == asio::error::would_block) {
      WaitWritable();
    } else if (error) {
      // What the server said before it closed may still be in the receive buffer: the read tells, and ends it.
      write_failed_ = true;
    } else {
      session_.Written(n);
    }
  }
}

void Connection::FlushTls(std::span<const std::string_view> output) {
  size_t n = 0;
  switch (io_->tls->Write(output, n)) {
    case TlsStream::Status::kDone:
      session_.Written(n);
      break;
    case TlsStream::Status::kWantWrite:
      WaitWritable();
      break;
    default:  // as above
      write_failed_ = true;
  }
}

void Connection::WaitWritable() {
  wants_writable_ = true;
  ++operations_;
  io_->socket.async_wait(tcp::socket::wait_write, [this](const error_code&) {
    --operations_;
    wants_writable_ = false;
    if (state_ == State::kOpen) {
      if (session_.holds_permit() && owner_.NowMs() - permitted_ms_ >= kPermitMs) session_.PermitLapsed();
      owner_.OnConnectionEvent(*this);
    }
    OperationEnded();
  });
}

void Connection::Permit(bool go, int64_t now_ms) {
  permitted_ms_ = now_ms;
  session_.Permit(go);
}

void Connection::Quit() {
  session_.Quit();
  Flush();
}

void Connection::Close() {
  error_code ignored;
  io_->resolver.cancel();
  if (session_.abandoned() && state_ == State::kOpen) {
    io_->socket.set_option(tcp::socket::linger(true, 0), ignored);
  } else if (io_->tls != nullptr) {
    io_->tls->Close();
  }
  io_->tls.reset();
  io_->socket.close(ignored);
  state_ = operations_ == 0 ? State::kFree : State::kClosing;
}

void Connection::OperationEnded() {
  if (state_ != State::kClosing || operations_ > 0) return;
  state_ = State::kFree;
  owner_.OnConnectionEvent(*this);
}

void Connection::Tick(int64_t now_ms) {
  if (state_ == State::kConnecting) {
    if (now_ms - since_ms_ >= settings_.connect_timeout_ms) {
      FailConnect("no answer within " + std::to_string(settings_.connect_timeout_ms) + " ms");
    }
    return;
  }
  if (state_ != State::kOpen) return;
  const Wait wait = session_.waiting();
  if (wait != seen_wait_ || session_.progress() != seen_progress_) {
    seen_wait_ = wait;
    seen_progress_ = session_.progress();
    since_ms_ = now_ms;
    return;
  }
  const int64_t limit = settings_.timeouts_ms[static_cast<size_t>(wait)];
  if (now_ms - since_ms_ < limit) return;
  if (wait == Wait::kNothing) {
    if (session_.idle()) owner_.OnIdleTimeout(*this);
    return;
  }
  session_.Lost(std::string(WaitName(wait)) + " within " + std::to_string(limit) + " ms");
  owner_.OnConnectionEvent(*this);
}

}  // namespace postbus::smtp
