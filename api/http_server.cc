#include "api/http_server.h"

#include <algorithm>
#include <atomic>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <set>
#include <thread>
#include <unordered_map>

#include "event/clock.h"

namespace postbus {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
using asio::ip::tcp;

std::string ToString(beast::string_view text) { return {text.data(), text.size()}; }

// Of those that come when there are too many, as many are told so; the others are only closed.
constexpr size_t kRefusals = 256;
constexpr auto kNoDescriptors = std::chrono::milliseconds(50);  // until one may be free again

class Session;

// What the sessions of one server share. Everything but the reply hand-over happens on the server's one thread.
struct ServerState : std::enable_shared_from_this<ServerState> {
  ServerState(const HttpLimits& http_limits, HttpHandler request_handler, HttpErrorPage page)
      : limits(http_limits), handler(std::move(request_handler)), error_page(std::move(page)) {}

  const HttpLimits limits;
  const HttpHandler handler;
  const HttpErrorPage error_page;
  std::set<Session*> sessions;
  // Sessions whose handler has not answered yet. A reply knows the number only: whichever thread it is called or
  // dropped on, sessions live and die on the server's thread.
  std::unordered_map<uint64_t, std::shared_ptr<Session>> unanswered;
  uint64_t next_request = 0;
  size_t body_bytes = 0;  // of all sessions
  bool stopping = false;
  asio::io_context io{1};  // last: its destructor drops handlers, which drop sessions
};

class Session : public std::enable_shared_from_this<Session> {
 public:
  Session(tcp::socket socket, ServerState& server)
      : stream_(std::move(socket)), timer_(stream_.get_executor()), server_(server) {
    server_.sessions.insert(this);
  }
  ~Session() {
    CountBody(0);
    server_.sessions.erase(this);
  }
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  void Start(bool too_many) {
    beast::error_code ignored;
    stream_.socket().set_option(tcp::no_delay(true), ignored);
    if (too_many) return Refuse(503, "too many connections");
    ReadHeader();
  }

  // Closes between two requests; an answer under way still goes out.
  void CloseWhenIdle() {
    keep_alive_ = false;
    if (!busy_) Close();
  }

  void Close() {
    timer_.cancel();
    beast::error_code ignored;
    stream_.socket().shutdown(tcp::socket::shutdown_both, ignored);
    stream_.close();
  }

 private:
  // First for a request to begin, then for its header, then for its body. Not Beast's timer: that closes the socket,
  // and nobody could be told why.
  void LimitReading(int seconds) {
    timer_.expires_after(std::chrono::seconds(seconds));
    timer_.async_wait([self = shared_from_this()](beast::error_code error) {
      // The time may have been moved on when this was on its way already.
      if (error || self->timer_.expiry() > std::chrono::steady_clock::now()) return;
      self->timed_out_ = true;
      self->stream_.socket().cancel(error);
    });
  }
  void EndLimit() { timer_.expires_at(std::chrono::steady_clock::time_point::max()); }

  // False: the server holds as much as it may.
  bool CountBody(size_t bytes) {
    server_.body_bytes = server_.body_bytes - body_bytes_ + bytes;
    body_bytes_ = bytes;
    return server_.body_bytes <= server_.limits.all_bodies_bytes;
  }

  void ReadHeader() {
    parser_.emplace();
    parser_->header_limit(static_cast<uint32_t>(server_.limits.header_bytes));
    parser_->body_limit(server_.limits.body_bytes);
    stream_.expires_never();
    busy_ = false;
    if (buffer_.size() > 0) return ReadHeaderNow();
    LimitReading(server_.limits.idle_seconds);
    stream_.async_read_some(buffer_.prepare(4096), [self = shared_from_this()](beast::error_code error, size_t size) {
      // Closed by a stop when this was on its way already: a request taken now could not be answered.
      if (error || !self->stream_.socket().is_open()) return self->Close();
      self->buffer_.commit(size);
      self->ReadHeaderNow();
    });
  }

  void ReadHeaderNow() {
    busy_ = true;
    LimitReading(server_.limits.header_seconds);
    http::async_read_header(stream_, buffer_, *parser_,
                            [self = shared_from_this()](beast::error_code error, size_t) { self->OnHeader(error); });
  }

  void OnHeader(beast::error_code error) {
    if (error) return OnReadError(error);
    LimitReading(server_.limits.body_seconds);
    if (EqualsIgnoringCase(ToString(parser_->get()[http::field::expect]), "100-continue")) {
      continue_ = {http::status::continue_, parser_->get().version()};
      http::async_write(stream_, continue_, [self = shared_from_this()](beast::error_code failed, size_t) {
        if (failed) return self->Close();
        self->ReadBody();
      });
      return;
    }
    ReadBody();
  }

  void ReadBody() {
    if (!CountBody(parser_->get().body().size())) return Refuse(503, "too many bytes are being sent to this server");
    if (parser_->is_done()) return OnRequest();
    http::async_read_some(stream_, buffer_, *parser_, [self = shared_from_this()](beast::error_code error, size_t) {
      if (error) return self->OnReadError(error);
      self->ReadBody();
    });
  }

  void OnReadError(beast::error_code error) {
    if (error == http::error::end_of_stream || error == asio::error::connection_reset ||
        error == http::error::partial_message) {
      return Close();
    }
    if (error == asio::error::operation_aborted) {
      return timed_out_ ? Refuse(408, "the request did not arrive in time") : Close();
    }
    if (error == http::error::body_limit) return Refuse(413, "the body is larger than this server takes");
    if (error == http::error::header_limit) return Refuse(431, "the header is larger than this server takes");
    Refuse(400, "this is not HTTP/1.1: " + error.message());
  }

  void Refuse(int status, const std::string& detail) {
    busy_ = true;
    keep_alive_ = false;
    EndLimit();
    CountBody(0);
    Write(server_.error_page(status, detail));
  }

  void OnRequest() {
    EndLimit();  // the answer takes the time it takes
    auto message = parser_->release();
    keep_alive_ = message.keep_alive() && !server_.stopping;
    HttpRequest request;
    request.method = ToString(message.method_string());
    std::string target = ToString(message.target());
    const size_t question = target.find('?');
    if (question != std::string::npos) {
      request.query = target.substr(question + 1);
      target.resize(question);
    }
    request.path = std::move(target);
    request.body = std::move(message.body());
    for (const auto& field : message) {
      request.headers.emplace_back(ToString(field.name_string()), ToString(field.value()));
    }
    version_ = message.version();
    const uint64_t number = server_.next_request++;
    server_.unanswered.emplace(number, shared_from_this());
    // The guard keeps the server's thread running while no session has anything to read or write but an answer is owed.
    server_.handler(std::move(request), [server = server_.shared_from_this(), number,
                                         work = asio::make_work_guard(server_.io)](HttpResponse response) {
      asio::post(server->io, [state = server.get(), number, answer = std::move(response)]() mutable {
        const auto found = state->unanswered.find(number);
        if (found == state->unanswered.end()) return;
        const auto session = std::move(found->second);
        state->unanswered.erase(found);
        session->Write(std::move(answer));
      });
    });
    CountBody(0);  // whoever keeps more than the request's time keeps it by itself
  }

  void Write(HttpResponse answer) {
    response_ = {};
    response_.version(version_);
    response_.result(static_cast<unsigned>(answer.status));
    response_.set(http::field::content_type, answer.content_type);
    for (const auto& [name, value] : answer.headers) response_.set(name, value);
    response_.keep_alive(keep_alive_);
    response_.body() = std::move(answer.body);
    response_.prepare_payload();
    stream_.expires_after(std::chrono::seconds(server_.limits.body_seconds));
    http::async_write(stream_, response_, [self = shared_from_this()](beast::error_code error, size_t) {
      if (error) return self->Close();
      if (!self->keep_alive_) return self->CloseAfterWrite();
      self->ReadHeader();
    });
  }

  // A refused sender may still be sending; closing with unread bytes would reset the connection and take our answer
  // with it. So: say that nothing more comes, then read on for a moment.
  void CloseAfterWrite() {
    beast::error_code ignored;
    stream_.socket().shutdown(tcp::socket::shutdown_send, ignored);
    stream_.expires_after(std::chrono::seconds(2));
    Discard();
  }

  void Discard() {
    buffer_.clear();
    stream_.async_read_some(buffer_.prepare(16 * 1024), [self = shared_from_this()](beast::error_code error, size_t) {
      if (error) return self->Close();
      self->Discard();
    });
  }

  beast::tcp_stream stream_;
  asio::steady_timer timer_;  // of what is being read; for writing Beast's is used
  ServerState& server_;
  beast::flat_buffer buffer_;
  std::optional<http::request_parser<http::string_body>> parser_;
  http::response<http::empty_body> continue_;
  http::response<http::string_body> response_;
  unsigned version_ = 11;
  size_t body_bytes_ = 0;  // as counted in server_
  bool timed_out_ = false;
  bool keep_alive_ = true;
  bool busy_ = false;  // between the first byte of a request and the last of its answer
};

}  // namespace

bool EqualsIgnoringCase(std::string_view a, std::string_view b) {
  return beast::iequals(beast::string_view(a.data(), a.size()), beast::string_view(b.data(), b.size()));
}

std::string_view HttpRequest::header(std::string_view name) const {
  for (const auto& [key, value] : headers) {
    if (EqualsIgnoringCase(key, name)) return value;
  }
  return {};
}

struct HttpServer::Impl {
  std::shared_ptr<ServerState> state;
  std::optional<tcp::acceptor> acceptor;
  std::optional<asio::steady_timer> pause;
  uint16_t port = 0;
  std::thread thread;

  void Accept() {
    acceptor->async_accept([this](beast::error_code error, tcp::socket socket) {
      if (state->stopping || error == asio::error::operation_aborted) return;
      if (error == asio::error::no_descriptors) {  // else a busy loop until one is free
        pause->expires_after(kNoDescriptors);
        pause->async_wait([this](beast::error_code) {
          if (!state->stopping) Accept();
        });
        return;
      }
      const size_t sessions = state->sessions.size();
      if (!error && sessions < state->limits.connections + kRefusals) {
        std::make_shared<Session>(std::move(socket), *state)->Start(sessions >= state->limits.connections);
      }
      Accept();
    });
  }
};

HttpServer::HttpServer() : impl_(std::make_unique<Impl>()) {}

HttpServer::~HttpServer() { Stop(0); }

uint16_t HttpServer::port() const { return impl_->port; }

Result<std::unique_ptr<HttpServer>> HttpServer::Start(const std::string& address, uint16_t port,
                                                      const HttpLimits& limits, HttpHandler handler,
                                                      HttpErrorPage error_page) {
  std::unique_ptr<HttpServer> server(new HttpServer());
  Impl& impl = *server->impl_;
  impl.state = std::make_shared<ServerState>(limits, std::move(handler), std::move(error_page));
  const std::string where = address + ":" + std::to_string(port);
  beast::error_code error;
  const auto ip = asio::ip::make_address(address == "localhost" ? "127.0.0.1" : address, error);
  if (error) return Status::Invalid("cannot listen on " + where + ": \"" + address + "\" is no IP address");
  const tcp::endpoint endpoint(ip, port);
  impl.pause.emplace(impl.state->io);
  impl.acceptor.emplace(impl.state->io);
  impl.acceptor->open(endpoint.protocol(), error);
  if (!error) impl.acceptor->set_option(asio::socket_base::reuse_address(true), error);
  if (!error) impl.acceptor->bind(endpoint, error);
  if (!error) impl.acceptor->listen(asio::socket_base::max_listen_connections, error);
  if (error) return Status::Unavailable("cannot listen on " + where + ": " + error.message());
  impl.port = impl.acceptor->local_endpoint().port();
  impl.Accept();
  impl.thread = std::thread([state = impl.state] { state->io.run(); });
  return server;
}

void HttpServer::Stop(int64_t deadline_boot_ms) {
  if (!impl_->thread.joinable()) return;
  ServerState& state = *impl_->state;
  asio::post(state.io, [this, &state] {
    state.stopping = true;
    impl_->acceptor->close();
    impl_->pause->cancel();
    const std::set<Session*> sessions = state.sessions;
    for (Session* session : sessions) session->CloseWhenIdle();
  });
  // run() returns once the last session is gone; past the deadline it is ended.
  while (BootTimeMs() < deadline_boot_ms && !state.io.stopped()) {
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  state.io.stop();
  impl_->thread.join();
  state.unanswered.clear();
}

bool IsLoopback(std::string_view address) {
  if (address == "localhost") return true;
  beast::error_code error;
  const auto ip = asio::ip::make_address(std::string(address), error);
  return !error && ip.is_loopback();
}

}  // namespace postbus
