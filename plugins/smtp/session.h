// plugins/smtp/session.h - one SMTP connection as a state machine: bytes in, bytes out, and what became of each mail.
// No sockets and no clock, so that every dialogue can be tested byte by byte.
//
// With PIPELINING (RFC 2920) a mail is two writes and one round trip each: envelope (MAIL, RCPT..., DATA), then body
// with the next mail's envelope behind it. The replies to that second write decide the first mail and open the way for
// the second. Without it, a command at a time.
//
// Not thread-safe. The options and the listener must outlive it.
#pragma once

#include <array>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "plugins/smtp/dot_stuffing.h"
#include "plugins/smtp/reply.h"
#include "plugins/smtp/reply_rules.h"
#include "postbus/abi/mail.h"
#include "postbus/abi/outcome.h"

namespace postbus::smtp {

// A mail the transport has taken and not completed yet.
struct MailTask {
  const postbus_mail* mail = nullptr;
  bool retried = false;      // has been on a connection that was found dead
  MailTask* next = nullptr;  // in the pool's lists
};

class SessionListener {
 public:
  virtual ~SessionListener() = default;
  // The mail's turn is over; the session forgets it. `result` is valid for the call. Must not call the session.
  virtual void OnFinished(MailTask& task, const postbus_result& result) = 0;
  // The connection, which had served other mails, died before this one's point of no return: it may be tried on another
  // one as if nothing had happened. Happens once a mail; `retried` is set. Must not call the session.
  virtual void OnReturned(MailTask& task) = 0;
};

enum class Tls : uint8_t { kNone, kStartTls, kImplicit };
enum class Auth : uint8_t { kAuto, kPlain, kLogin, kXoauth2 };

struct SessionOptions {
  std::string helo_name;
  bool pipelining = true;  // where the server announces it
  std::string server;      // HOST:PORT, for texts
  Tls tls = Tls::kNone;
  Auth auth = Auth::kAuto;
  std::string username;  // empty: no AUTH
  std::string password;  // an OAuth 2.0 access token where auth is kXoauth2
  ReplyRules rules;
};

// What the session waits for, by the name of its timeout (RFC 5321 4.5.3.2).
enum class Wait : uint8_t {
  kNothing,
  kGreeting,
  kEhlo,
  kTls,
  kAuth,
  kMail,
  kRcpt,
  kDataInitiation,
  kDataBlock,
  kDataTermination,
  kQuit,
};
inline constexpr size_t kWaits = static_cast<size_t>(Wait::kQuit) + 1;

class Session {
 public:
  // Mails up to this size are held back as a whole until the host permits; of a larger one, this much.
  static constexpr size_t kHeldBack = 65536;

  enum class State : uint8_t {
    kOpening,  // greeting, EHLO, TLS, AUTH
    kReady,    // takes mails
    kQuitting,
    kFailed,  // close the connection; all mails are finished or returned
  };
  // Why it never became ready. Texts have no address.
  struct Failure {
    int32_t outcome = POSTBUS_PROVIDER_FAULT;
    int32_t phase = POSTBUS_PHASE_NONE;
    uint64_t retry_after_ms = 0;
    uint16_t code = 0;
    std::array<uint16_t, 3> enhanced{};
    std::string text;
  };

  Session(const SessionOptions& options, SessionListener& listener);

  // The connection is there: forgets all that was and waits for the greeting, or for TLS. A password goes over a
  // connection in the clear only where that does not leave this machine (`loopback`).
  void Open(bool loopback);
  // It is time for the TLS handshake: nothing is read or written until TlsEstablished or Lost.
  bool wants_tls() const { return state_ == State::kOpening && opening_ == Opening::kHandshake; }
  // REQUIRES: wants_tls().
  void TlsEstablished();
  // Takes what the server sent.
  void Receive(std::string_view bytes);
  // The connection broke, or is given up (timeout). `reason` without address.
  void Lost(std::string_view reason);
  // REQUIRES: idle().
  void Quit();

  State state() const { return state_; }
  bool ready() const { return state_ == State::kReady; }
  // Part of a mail may be on its way and the server must not take it for the whole: close with RST.
  bool abandoned() const { return abandoned_; }
  const Failure& failure() const { return failure_; }
  bool idle() const { return ready() && now_.step == Step::kNone; }
  uint32_t mails_taken() const { return mails_taken_; }
  uint32_t mails_answered() const { return mails_answered_; }

  Wait waiting() const;
  // Changes whenever something moved: a reply came, bytes were written.
  uint64_t progress() const { return replies_ + written_; }

  // Is there room for a mail? Either nothing is under way, or one body is about to be written and an envelope may
  // follow.
  bool CanTake() const { return idle(); }
  bool CanTakeAhead() const;
  // Starts a mail; one that must not or cannot be sent is finished at once and leaves the session as it was.
  // REQUIRES: CanTake() or CanTakeAhead().
  void Take(MailTask& task);

  // The mail that is at its point of no return: nothing is written before Permit; nullptr if there is none.
  MailTask* wants_permit() const { return ready() && permit_ == Permission::kNeeded ? now_.task : nullptr; }
  // REQUIRES: wants_permit() != nullptr.
  void Permit(bool go);
  // Permitted, and the final dot not begun yet: a permission that may lapse.
  bool holds_permit() const { return permit_ == Permission::kGranted && !DotBegun(); }
  // REQUIRES: holds_permit().
  void PermitLapsed() { permit_ = Permission::kNeeded; }

  // Ends the turn of a mail that is before its point of no return as NOT_SENT; false: it is past it, or not here. The
  // session goes on as far as that is possible without sending it.
  bool Withdraw(const MailTask& task, std::string_view reason);
  // Takes back the mail whose envelope went ahead, to be sent on another connection as if nothing had happened.
  // REQUIRES: ahead() != nullptr.
  MailTask& TakeBackAhead();
  // The mails under way.
  MailTask* current() const { return now_.task; }
  MailTask* ahead() const { return ahead_.task; }

  // The bytes to write next, in order; empty: nothing to write. Valid until the next call of a non-const function.
  std::span<const std::string_view> Output();
  // The first `n` bytes of Output() were handed to the kernel.
  void Written(size_t n);

 private:
  enum class Opening : uint8_t { kGreeting, kEhlo, kStartTls, kHandshake, kAuth };
  enum class Step : uint8_t { kNone, kReset, kMail, kRcpt, kData, kBody, kLoneDot };
  enum class Permission : uint8_t { kNone, kAhead, kNeeded, kGranted };  // kAhead: the part before is being written

  // What became of one recipient, or of all.
  struct Verdict {
    int32_t outcome = 0;
    int32_t phase = POSTBUS_PHASE_NONE;
    uint16_t code = 0;
    std::array<uint16_t, 3> enhanced{};
    uint64_t retry_after_ms = 0;
    size_t text_begin = 0;  // in Transaction::texts
    size_t text_size = 0;
    uint32_t recipient = 0;
    bool too_many = false;
  };
  struct Transaction {
    MailTask* task = nullptr;  // null while step is not kNone: the mail's turn is over, replies are still to come
    Step step = Step::kNone;
    bool dot_lines = false;
    bool utf8_address = false;   // and the server knows SMTPUTF8
    bool mail_accepted = false;  // the server is in a transaction
    uint32_t recipients = 0;
    uint32_t answered = 0;  // RCPT commands
    uint32_t accepted = 0;
    std::vector<Verdict> refused;
    std::string texts;
  };

  void OnReply(const Reply& reply);
  void OnOpeningReply(const Reply& reply);
  void OnAuthReply(const Reply& reply);
  void ForgetExtensions();
  void SayHello();
  void Opened();
  void StartAuth();
  // Would these words of the server's tell the password?
  bool Repeats(std::string_view text) const;
  void OnMailReply(const Reply& reply);
  void OnRcptReply(const Reply& reply);
  void OnDataReply(const Reply& reply);
  void OnBodyReply(const Reply& reply);
  void ParseExtensions(std::string_view text);

  // What a reply means: OutcomeOfReply, where no rule says otherwise.
  Judgement Judge(int32_t phase, const Reply& reply) const;
  // What the server cannot do for this mail; empty: nothing.
  std::string_view Unsupported(const postbus_mail& mail, Transaction& transaction);
  // Command buffer: one batch at a time, begun when every command of the last one is answered.
  void BeginBatch();
  void Append(std::string_view command);
  void AppendMail(const Transaction& transaction);
  void AppendRcpt(const Transaction& transaction, uint32_t index);
  void AppendPath(std::string_view address);
  // Without PIPELINING: the command that follows the one just answered. False: nothing is to follow, RSET is.
  bool AppendNext();
  void EndTransaction();

  Verdict MakeVerdict(Transaction& transaction, Judgement judgement, int32_t phase, const Reply* reply,
                      std::string_view reason = {});
  // Ends the turn of the transaction's mail.
  void Finish(Transaction& transaction, Verdict whole);
  void FinishUntried(MailTask& task, int32_t outcome, std::string_view reason);
  // The connection is over. A mail before its point of no return is returned if `dead` (nothing but the connection is
  // to blame), else finished as `reply` or `reason` says.
  void EndAll(bool dead, const Reply* reply, std::string_view reason);
  void OutOfStep(std::string_view what);
  // The server will not do: no reply is to blame.
  void RefuseServer(int32_t phase, std::string_view what);

  int32_t OpeningPhase() const;
  int32_t PhaseOf(const Transaction& transaction) const;
  bool DotBegun() const { return now_.step == Step::kBody && written_ > dot_begin_; }
  bool DotWritten() const { return now_.step == Step::kBody && written_ >= dot_end_; }
  void Push(std::string_view piece);

  static constexpr uint64_t kNever = std::numeric_limits<uint64_t>::max();

  const SessionOptions& options_;
  SessionListener& listener_;
  ReplyParser parser_;
  State state_ = State::kFailed;
  Failure failure_;
  Opening opening_ = Opening::kGreeting;
  bool loopback_ = false;
  bool greeted_ = false;
  bool secured_ = false;  // by TLS
  bool helo_ = false;     // EHLO was refused
  bool abandoned_ = false;
  bool reset_needed_ = false;  // the server is in a transaction that came to nothing

  bool pipelining_ = false;
  bool eight_bit_ = false;
  bool smtputf8_ = false;
  bool starttls_ = false;
  bool has_size_ = false;
  uint64_t size_limit_ = 0;       // 0: none
  std::string mechanisms_;        // of AUTH, each with a blank around it
  Auth mechanism_ = Auth::kAuto;  // the one in use
  std::string responses_[2];      // to the server's challenges, in Base64
  size_t next_response_ = 0;

  Transaction now_;
  Transaction ahead_;
  uint32_t mails_taken_ = 0;
  uint32_t mails_answered_ = 0;
  uint64_t replies_ = 0;

  // Output. Places are counted in bytes since Open.
  std::string commands_;  // behind the body, if there is one
  bool commands_pushed_ = true;
  uint64_t commands_begin_ = kNever;
  uint64_t commands_end_ = kNever;
  uint32_t awaited_ = 0;  // replies to them
  bool body_ = false;     // now_'s body has pieces to push
  DotStuffer stuffer_;
  size_t limit_ = 0;  // of the body, until the host permits
  Permission permit_ = Permission::kNone;
  uint64_t dot_begin_ = kNever;
  uint64_t dot_end_ = kNever;
  std::array<std::string_view, 32> pieces_;
  size_t first_ = 0;
  size_t count_ = 0;
  uint64_t pushed_ = 0;
  uint64_t written_ = 0;

  std::vector<postbus_recipient_result> results_;  // scratch of Finish
  std::vector<const postbus_recipient_result*> result_pointers_;
  std::string scratch_;
};

}  // namespace postbus::smtp
