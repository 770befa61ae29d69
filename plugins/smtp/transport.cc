#include "plugins/smtp/transport.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <stdexcept>
#include <string_view>

#include "plugins/smtp/mail_queue.h"
#include "plugins/smtp/tls.h"

namespace postbus::smtp {
namespace {

// Mails taken for each connection there may be: enough that none waits for the host, and the host's other transports
// do not wait for this one's queue.
constexpr int64_t kMailsPerConnection = 128;
constexpr int64_t kQuitTimeoutMs = 2000;

bool IsHostName(std::string_view text) {
  return !text.empty() && text.size() <= 255 && std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           std::string_view("-._:[]%").find(c) != std::string_view::npos;
  });
}

std::string OwnName() {
  std::array<char, 256> name{};
  if (gethostname(name.data(), name.size() - 1) != 0 || !IsHostName(name.data())) return "localhost";
  return name.data();
}

void SetTls(const sdk::Options& options, Settings& settings) {
  const std::string tls = options.Enum("tls");
  const std::string ca_file = options.Path("tls_ca_file");
  if (tls == "none") {
    if (!ca_file.empty()) throw std::runtime_error("tls_ca_file: there is no TLS with tls: none");
    return;
  }
  settings.session.tls = tls == "implicit" ? Tls::kImplicit : Tls::kStartTls;
  settings.tls = std::make_shared<const TlsContext>(settings.host, ca_file);
}

void SetAuth(const sdk::Options& options, SessionOptions& session) {
  session.username = options.String("username");
  session.password = options.String("password");
  if (session.username.empty() != session.password.empty()) {
    throw std::runtime_error("username and password: one of them is missing; leave both empty for no AUTH");
  }
  if ((session.username + session.password).find_first_of(std::string_view("\0\x01\r\n", 4)) != std::string::npos) {
    throw std::runtime_error("username or password has a line break or control character in it");
  }
  const std::string auth = options.Enum("auth");
  session.auth = auth == "plain"     ? Auth::kPlain
                 : auth == "login"   ? Auth::kLogin
                 : auth == "xoauth2" ? Auth::kXoauth2
                                     : Auth::kAuto;
}

Settings MakeSettings(const sdk::Options& options) {
  Settings settings;
  settings.host = options.String("host");
  if (!IsHostName(settings.host)) throw std::runtime_error("host: not a host name or IP address");
  settings.port = static_cast<uint16_t>(options.Integer("port"));
  settings.session.helo_name = options.String("helo_name");
  if (settings.session.helo_name.empty()) settings.session.helo_name = OwnName();
  if (!IsHostName(settings.session.helo_name)) throw std::runtime_error("helo_name: not a host name");
  settings.session.pipelining = options.Boolean("pipelining");
  settings.session.server = settings.host + ":" + std::to_string(settings.port);
  settings.session.rules = ReplyRules(options.List("reply_rules"), options.Enum("preset"));
  SetTls(options, settings);
  SetAuth(options, settings.session);
  settings.connect_timeout_ms = options.Duration("connect_timeout").count();
  const auto timeout = [&](Wait wait) -> int64_t& { return settings.timeouts_ms[static_cast<size_t>(wait)]; };
  timeout(Wait::kNothing) = options.Duration("idle_timeout").count();
  timeout(Wait::kGreeting) = options.Duration("greeting_timeout").count();
  timeout(Wait::kEhlo) = options.Duration("ehlo_timeout").count();
  timeout(Wait::kTls) = options.Duration("tls_timeout").count();
  timeout(Wait::kAuth) = options.Duration("auth_timeout").count();
  timeout(Wait::kMail) = options.Duration("mail_timeout").count();
  timeout(Wait::kRcpt) = options.Duration("rcpt_timeout").count();
  timeout(Wait::kDataInitiation) = options.Duration("data_initiation_timeout").count();
  timeout(Wait::kDataBlock) = options.Duration("data_block_timeout").count();
  timeout(Wait::kDataTermination) = options.Duration("data_termination_timeout").count();
  timeout(Wait::kQuit) = kQuitTimeoutMs;
  settings.max_connection_age_ms = options.Duration("max_connection_age").count();
  settings.max_messages_per_connection = static_cast<uint32_t>(options.Integer("max_messages_per_connection"));
  return settings;
}

}  // namespace

Transport::Transport(sdk::Host host, const sdk::Options& options) : host_(host), settings_(MakeSettings(options)) {
  const int64_t connections = options.Integer("max_connections");
  // At least two connections each: one of them is kept for high mails.
  const int64_t threads = std::min(options.Integer("io_threads"), std::max<int64_t>(1, connections / 2));
  capacity_ = static_cast<uint32_t>(connections * kMailsPerConnection);
  capacity_for_others_ = capacity_ - static_cast<uint32_t>(MailQueue::KeptForHigh(capacity_));
  for (int64_t i = 0; i < threads; ++i) {
    const int64_t share = connections / threads + (i < connections % threads ? 1 : 0);
    pools_.push_back(std::make_unique<Pool>(host_, settings_, static_cast<uint32_t>(share), capacity_, *this));
  }
}

Transport::~Transport() = default;

bool Transport::Probe(int64_t deadline_ms, std::string& report) {
  report = smtp::Probe(host_, settings_, deadline_ms);
  return report.empty();
}

// The host offers high ones first. For one behind others there may be no room that it would have found before them.
uint32_t Transport::Reserve(std::span<const postbus_mail* const> mails) {
  const auto is_high = [](const postbus_mail* mail) { return MailQueue::IsHigh(*mail); };
  const size_t high = static_cast<size_t>(std::find_if_not(mails.begin(), mails.end(), is_high) - mails.begin());
  uint32_t held = outstanding_.load();
  uint32_t taken = 0;
  do {
    taken = static_cast<uint32_t>(std::min<size_t>(high, capacity_ - held));
    if (taken == high && held + taken < capacity_for_others_) {
      taken += static_cast<uint32_t>(std::min<size_t>(mails.size() - high, capacity_for_others_ - held - taken));
    }
  } while (!outstanding_.compare_exchange_weak(held, held + taken));
  return taken;
}

uint32_t Transport::Submit(std::span<const postbus_mail* const> mails) {
  uint32_t taken = Reserve(mails);
  if (taken < mails.size()) {
    // Said first and looked at again afterwards: a mail that ends in between must not go unnoticed.
    owes_writable_ = true;
    taken += Reserve(mails.subspan(taken));
  }
  const size_t share = (taken + pools_.size() - 1) / pools_.size();
  for (size_t begin = 0; begin < taken; begin += share) {
    pools_[turn_++ % pools_.size()]->Submit(mails.subspan(begin, std::min(share, taken - begin)));
  }
  return taken;
}

void Transport::Cancel(std::span<const uint64_t> tokens) {
  for (const auto& pool : pools_) pool->Cancel(tokens);
}

void Transport::Quiesce(int64_t deadline_ms) {
  for (const auto& pool : pools_) pool->Quiesce(deadline_ms);
}

void Transport::OnComplete(uint64_t token, const postbus_result& result) {
  host_.Complete(token, result);
  // Half empty, so that the host comes with more than one mail.
  if (--outstanding_ <= capacity_ / 2 && owes_writable_ && owes_writable_.exchange(false)) host_.Writable();
}

}  // namespace postbus::smtp
