#include "plugins/smtp/pool.h"

#include <algorithm>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "plugins/smtp/mail_queue.h"

namespace postbus::smtp {
namespace {

namespace asio = boost::asio;

constexpr auto kTick = std::chrono::milliseconds(100);
constexpr int64_t kFirstBackoffMs = 100;
constexpr int64_t kLastBackoffMs = 5000;
constexpr int64_t kQueueDeadlineEveryMs = 500;
constexpr int64_t kStuckMs = 1000;
constexpr size_t kNapFrom = 16;  // connections with a mail
constexpr auto kNap = std::chrono::microseconds(200);

postbus_result MakeResult(int32_t outcome, int32_t phase, std::string_view text) {
  postbus_result result{};
  result.size = sizeof result;
  result.outcome = outcome;
  result.phase = phase;
  result.text = {text.data(), text.size()};
  return result;
}

postbus_result MakeResult(const Session::Failure& failure) {
  postbus_result result = MakeResult(failure.outcome, failure.phase, failure.text);
  result.retry_after_ms = failure.retry_after_ms;
  result.code = failure.code;
  std::copy(failure.enhanced.begin(), failure.enhanced.end(), result.enhanced);
  return result;
}

}  // namespace

class Pool::Impl final : public ConnectionOwner {
 public:
  Impl(sdk::Host host, const Settings& settings, uint32_t max_connections, uint32_t max_mails, PoolOwner& owner)
      : host_(host),
        settings_(settings),
        owner_(owner),
        tasks_(max_mails),
        queue_(max_connections),
        slots_(max_connections) {
    inbox_.reserve(max_mails);
    taken_.reserve(max_mails);
    free_tasks_.reserve(max_mails);
    for (MailTask& task : tasks_) free_tasks_.push_back(&task);
    for (size_t i = 0; i < slots_.size(); ++i) {
      slots_[i].connection = std::make_unique<Connection>(io_, settings_, *this, i);
    }
    idle_.reserve(slots_.size());
    permits_.reserve(slots_.size());
    asking_.reserve(slots_.size());
    thread_ = std::thread([this] { Run(); });
  }

  ~Impl() override {
    io_.stop();
    thread_.join();
    // No other thread is left; what follows only ends what the host should have let end before.
    closing_ = true;
    TakeInbox();
    FailQueued(MakeResult(POSTBUS_NOT_SENT, POSTBUS_PHASE_NONE, "the transport was closed"));
    for (Slot& slot : slots_) {
      Connection& connection = *slot.connection;
      if (connection.state() == Connection::State::kOpen) {
        if (connection.session().idle()) {
          connection.Quit();
        } else {
          connection.session().Lost("the transport was closed");
        }
      }
      connection.Close();
    }
  }

  // --- any thread ---

  void Submit(std::span<const postbus_mail* const> mails) {
    const std::lock_guard lock(mutex_);
    inbox_.insert(inbox_.end(), mails.begin(), mails.end());
    Wake();
  }

  void Cancel(std::span<const uint64_t> tokens) {
    const std::lock_guard lock(mutex_);
    cancels_.insert(cancels_.end(), tokens.begin(), tokens.end());
    Wake();
  }

  void Quiesce(int64_t deadline_ms) {
    asio::post(io_, [this, deadline_ms] {
      quiesce_deadline_ms_ = deadline_ms;
      while (!idle_.empty()) Retire(slots_[idle_.back()]);
      ArmTick();
    });
  }

  // --- the pool's thread from here on ---

  void OnFinished(MailTask& task, const postbus_result& result) override { Complete(task, result); }

  void OnReturned(MailTask& task) override {
    if (closing_) {
      Complete(task, MakeResult(POSTBUS_NOT_SENT, POSTBUS_PHASE_NONE, "the transport was closed"));
      return;
    }
    queue_.PushFront(task);
  }

  void OnConnectionEvent(Connection& connection) override {
    Advance(connection);
    Pump();
  }

  void OnIdleTimeout(Connection& connection) override { Retire(slots_[connection.id()]); }

  int64_t NowMs() const override { return host_.NowMs(); }

 private:
  enum class Role : uint8_t { kNone, kOpening, kLive, kRetired };
  struct Slot {
    std::unique_ptr<Connection> connection;
    Role role = Role::kNone;
    bool idle = false;
    bool asks_permit = false;
    bool serves_others = false;  // its mails are not high
  };

  // Each wake-up costs a switch of threads, more than a reply does. So while many connections work the thread naps
  // between its rounds and takes several replies at once; their servers do not notice.
  void Run() {
    while (io_.run_one() > 0) {
      io_.poll();
      if (live_ - idle_.size() >= kNapFrom) std::this_thread::sleep_for(kNap);
    }
  }

  // REQUIRES: mutex_ is held.
  void Wake() {
    if (std::exchange(woken_, true)) return;
    asio::post(io_, [this] { Drain(); });
  }

  void TakeInbox() {
    {
      const std::lock_guard lock(mutex_);
      woken_ = false;
      taken_.swap(inbox_);
      cancelled_.swap(cancels_);
    }
    for (const postbus_mail* mail : taken_) {
      MailTask& task = *free_tasks_.back();
      free_tasks_.pop_back();
      task.mail = mail;
      task.retried = false;
      queue_.PushBack(task);
    }
    taken_.clear();
  }

  void Drain() {
    TakeInbox();
    if (!cancelled_.empty()) {
      std::sort(cancelled_.begin(), cancelled_.end());
      WithdrawAll("the host took it back", [this](const MailTask& task) {
        return std::binary_search(cancelled_.begin(), cancelled_.end(), task.mail->token);
      });
      cancelled_.clear();
    }
    Pump();
    ArmTick();
  }

  void Complete(MailTask& task, const postbus_result& result) {
    const uint64_t token = task.mail->token;
    free_tasks_.push_back(&task);
    owner_.OnComplete(token, result);
  }

  void FailQueued(const postbus_result& result) {
    queue_.Extract([](const MailTask&) { return true; }, [&](MailTask& task) { Complete(task, result); });
  }

  // Completes as NOT_SENT what `condition` is true of and has not passed its point of no return.
  template <typename Condition>
  void WithdrawAll(std::string_view reason, Condition condition) {
    const postbus_result result = MakeResult(POSTBUS_NOT_SENT, POSTBUS_PHASE_NONE, reason);
    queue_.Extract(condition, [&](MailTask& task) { Complete(task, result); });
    WithdrawFromSessions(reason, condition);
  }

  template <typename Condition>
  void WithdrawFromSessions(std::string_view reason, Condition condition) {
    for (Slot& slot : slots_) {
      if (slot.role != Role::kLive) continue;
      Session& session = slot.connection->session();
      for (const MailTask* task : {session.ahead(), session.current()}) {
        if (task != nullptr && condition(*task) && session.Withdraw(*task, reason)) Advance(*slot.connection);
        if (slot.role != Role::kLive) break;
      }
    }
  }

  // Brings one connection as far as it goes.
  void Advance(Connection& connection) {
    Slot& slot = slots_[connection.id()];
    Session& session = connection.session();
    if (slot.role == Role::kNone) return;
    const bool failed = connection.state() == Connection::State::kFailed || session.state() == Session::State::kFailed;
    if (connection.state() != Connection::State::kConnecting && failed) {
      Drop(slot);
      return;
    }
    if (slot.role == Role::kOpening && session.ready() && connection.state() == Connection::State::kOpen) {
      slot.role = Role::kLive;
      --opening_;
      ++live_;
    }
    if (slot.role == Role::kLive) {
      if (session.mails_answered() > 0) backoff_ms_ = 0;
      if (session.idle() && !slot.idle) Employ(slot);
    }
    connection.Flush();
    if (session.wants_permit() != nullptr) AskPermit(slot);
  }

  // Gives the connection a mail, or puts it among the idle.
  void Employ(Slot& slot) {
    Connection& connection = *slot.connection;
    Session& session = connection.session();
    EndService(slot);
    const bool wanted = queue_.servable() > 0;
    if (session.mails_taken() >= settings_.max_messages_per_connection ||
        (wanted && host_.NowMs() - connection.opened_ms() >= settings_.max_connection_age_ms) ||
        (!wanted && quiesce_deadline_ms_.has_value())) {
      Retire(slot);
      return;
    }
    while (session.CanTake()) {
      EndService(slot);  // of a mail that could not be sent at all
      MailTask* task = queue_.Pop();
      if (task == nullptr) break;
      slot.serves_others = !MailQueue::IsHigh(*task);
      session.Take(*task);
    }
    if (!session.idle()) return;
    slot.idle = true;
    idle_.push_back(connection.id());
  }

  void EndService(Slot& slot) {
    if (std::exchange(slot.serves_others, false)) queue_.OtherEnded();
  }

  void LeaveIdle(Slot& slot) {
    if (!std::exchange(slot.idle, false)) return;
    idle_.erase(std::find(idle_.begin(), idle_.end(), slot.connection->id()));
  }

  // Says QUIT; it is closed when the server has answered, or soon.
  void Retire(Slot& slot) {
    LeaveIdle(slot);
    slot.role = Role::kRetired;
    --live_;
    slot.connection->Quit();
  }

  void Drop(Slot& slot) {
    Connection& connection = *slot.connection;
    LeaveIdle(slot);
    EndService(slot);
    slot.asks_permit = false;
    const Role role = std::exchange(slot.role, Role::kNone);
    if (role == Role::kLive) {
      --live_;
      // It broke before it was of any use: as bad as one that could not be opened.
      if (connection.session().mails_answered() == 0) BackOff();
    }
    connection.Close();
    if (role != Role::kOpening) return;
    --opening_;
    if (backoff_ms_ == 0) host_.Log(sdk::LogLevel::kWarning, "no connection: " + connection.failure().text);
    BackOff();
    if (opening_ == 0 && live_ == 0) FailQueued(MakeResult(connection.failure()));
  }

  void BackOff() {
    backoff_ms_ = std::clamp(backoff_ms_ * 2, kFirstBackoffMs, kLastBackoffMs);
    connect_not_before_ms_ = host_.NowMs() + backoff_ms_;
  }

  // Gives waiting mails to idle connections, and opens more where that is not enough.
  void Pump() {
    while (queue_.servable() > 0 && !idle_.empty()) {
      Slot& slot = slots_[idle_.back()];
      LeaveIdle(slot);
      Advance(*slot.connection);
    }
    const size_t wanted = queue_.servable();
    if (wanted <= opening_ || opening_ + live_ >= slots_.size() || opening_ >= std::max<size_t>(live_, 1)) return;
    const int64_t now = host_.NowMs();
    if (backoff_ms_ > 0 && (opening_ > 0 || now < connect_not_before_ms_)) return;
    for (Slot& slot : slots_) {
      if (wanted <= opening_ || opening_ >= std::max<size_t>(live_, 1)) break;
      if (slot.role != Role::kNone || slot.connection->state() != Connection::State::kFree) continue;
      slot.role = Role::kOpening;
      ++opening_;
      slot.connection->Connect(now);
    }
  }

  // The host is asked for all mails that come to their point of no return in one turn of the loop.
  void AskPermit(Slot& slot) {
    if (std::exchange(slot.asks_permit, true)) return;
    permits_.push_back(slot.connection->id());
    if (permits_.size() == 1) asio::post(io_, [this] { AnswerPermits(); });
  }

  void AnswerPermits() {
    asking_.clear();
    tokens_.clear();
    const int64_t now = host_.NowMs();
    for (const size_t id : permits_) {
      Slot& slot = slots_[id];
      if (!std::exchange(slot.asks_permit, false)) continue;
      MailTask* task = slot.connection->session().wants_permit();
      if (task == nullptr) continue;
      if (task->mail->deadline_ms <= now) {
        slot.connection->session().Withdraw(*task, "its deadline passed");
        Advance(*slot.connection);
        continue;
      }
      asking_.push_back(id);
      tokens_.push_back(task->mail->token);
    }
    permits_.clear();
    verdicts_.assign(tokens_.size(), POSTBUS_ABORT);
    if (!tokens_.empty()) host_.PermitSend(tokens_, verdicts_);
    for (size_t i = 0; i < asking_.size(); ++i) {
      const Slot& slot = slots_[asking_[i]];
      Connection& connection = *slot.connection;
      Session& session = connection.session();
      connection.Permit(verdicts_[i] == POSTBUS_GO, now);
      // The next envelope goes with this body, unless an opening connection will be there for it, or a high mail waits
      // for any connection: this one is free sooner without.
      const bool high = !slot.serves_others;
      while (queue_.waiting(high) > opening_ && (high || queue_.waiting(true) == 0) && session.CanTakeAhead() &&
             session.mails_taken() < settings_.max_messages_per_connection) {
        session.Take(*queue_.PopLike(high));
      }
      Advance(connection);
    }
    Pump();
  }

  void ArmTick() {
    if (std::exchange(ticking_, true)) return;
    timer_.expires_after(kTick);
    timer_.async_wait([this](const boost::system::error_code&) { Tick(); });
  }

  void Tick() {
    ticking_ = false;
    const int64_t now = host_.NowMs();
    bool active = !queue_.empty();
    for (Slot& slot : slots_) {
      if (slot.role == Role::kNone) continue;
      active = true;
      slot.connection->Tick(now);
      FreeAhead(slot, now);
    }
    const auto expired = [now](const MailTask& task) { return task.mail->deadline_ms <= now; };
    if (now - deadlines_checked_ms_ >= kQueueDeadlineEveryMs) {
      deadlines_checked_ms_ = now;
      WithdrawAll("its deadline passed", expired);
    }
    if (quiesce_deadline_ms_.has_value() && now >= *quiesce_deadline_ms_) {
      closing_ = true;
      FailQueued(MakeResult(POSTBUS_NOT_SENT, POSTBUS_PHASE_NONE, "the transport is being closed"));
      for (Slot& slot : slots_) {
        if (slot.role != Role::kLive) continue;
        slot.connection->session().Lost("the transport is being closed");
        Advance(*slot.connection);
      }
    }
    Pump();
    if (active) ArmTick();
  }

  // A mail whose envelope went ahead must not wait for the server to make up its mind about the one in front of it
  // while another connection could take it. It costs this connection.
  void FreeAhead(Slot& slot, int64_t now) {
    Session& session = slot.connection->session();
    if (slot.role != Role::kLive || session.ahead() == nullptr) return;
    const bool high = MailQueue::IsHigh(*session.ahead());
    if (queue_.waiting(high) > 0 || (!high && !queue_.has_room_for_others())) return;
    if (now - slot.connection->moved_ms() < kStuckMs || (idle_.empty() && opening_ + live_ == slots_.size())) return;
    MailTask& task = session.TakeBackAhead();
    queue_.PushFront(task);
  }

  const sdk::Host host_;
  const Settings& settings_;
  PoolOwner& owner_;
  asio::io_context io_{1};
  asio::executor_work_guard<asio::io_context::executor_type> work_{io_.get_executor()};
  asio::steady_timer timer_{io_};
  bool ticking_ = false;

  std::vector<MailTask> tasks_;
  std::vector<MailTask*> free_tasks_;
  MailQueue queue_;
  std::vector<Slot> slots_;
  std::vector<size_t> idle_;  // slots; the last in is the first out
  size_t opening_ = 0;
  size_t live_ = 0;
  int64_t backoff_ms_ = 0;
  int64_t connect_not_before_ms_ = 0;
  int64_t deadlines_checked_ms_ = 0;
  std::optional<int64_t> quiesce_deadline_ms_;
  bool closing_ = false;

  std::vector<size_t> permits_;  // slots
  std::vector<size_t> asking_;
  std::vector<uint64_t> tokens_;
  std::vector<uint8_t> verdicts_;

  std::vector<const postbus_mail*> taken_;
  std::vector<uint64_t> cancelled_;

  std::mutex mutex_;  // guards what other threads bring
  std::vector<const postbus_mail*> inbox_;
  std::vector<uint64_t> cancels_;
  bool woken_ = false;

  std::thread thread_;
};

Pool::Pool(sdk::Host host, const Settings& settings, uint32_t max_connections, uint32_t max_mails, PoolOwner& owner)
    : impl_(std::make_unique<Impl>(host, settings, max_connections, max_mails, owner)) {}

Pool::~Pool() = default;

void Pool::Submit(std::span<const postbus_mail* const> mails) { impl_->Submit(mails); }
void Pool::Cancel(std::span<const uint64_t> tokens) { impl_->Cancel(tokens); }
void Pool::Quiesce(int64_t deadline_ms) { impl_->Quiesce(deadline_ms); }

namespace {

class Prober final : public ConnectionOwner {
 public:
  explicit Prober(sdk::Host host) : host_(host) {}

  void OnFinished(MailTask&, const postbus_result&) override {}
  void OnReturned(MailTask&) override {}
  void OnIdleTimeout(Connection&) override {}
  int64_t NowMs() const override { return host_.NowMs(); }

  void OnConnectionEvent(Connection& connection) override {
    if (done_) return;
    Session& session = connection.session();
    const bool opened = connection.state() == Connection::State::kOpen;
    if (connection.state() == Connection::State::kFailed || (opened && session.state() == Session::State::kFailed)) {
      problem_ = connection.failure().text;
    } else if (opened && session.ready()) {
      connection.Quit();
    } else {
      connection.Flush();
      return;
    }
    done_ = true;
    connection.Close();
  }

  bool done() const { return done_; }
  const std::string& problem() const { return problem_; }

 private:
  const sdk::Host host_;
  bool done_ = false;
  std::string problem_;
};

}  // namespace

std::string Probe(sdk::Host host, const Settings& settings, int64_t deadline_ms) {
  Prober prober(host);
  asio::io_context io(1);
  Connection connection(io, settings, prober, 0);
  connection.Connect(host.NowMs());
  while (!prober.done()) {
    if (host.NowMs() >= deadline_ms) return "not ready for a mail before the deadline";
    io.run_for(kTick);
    io.restart();
    connection.Tick(host.NowMs());
  }
  return prober.problem();
}

}  // namespace postbus::smtp
