#include "plugins/smtp/session.h"

#include <algorithm>
#include <charconv>
#include <utility>

#include "plugins/smtp/verdict.h"
#include "postbus/ascii.hpp"

namespace postbus::smtp {
namespace {

std::string_view View(postbus_str text) { return {text.data, text.size}; }
postbus_str Str(std::string_view text) { return {text.data(), text.size()}; }

void AppendNumber(uint64_t number, std::string& out) {
  char digits[20];
  out.append(digits, std::to_chars(digits, digits + sizeof digits, number).ptr);
}

// RFC 5321 4.5.3.1.3: a path is at most 256 bytes, angle brackets included.
constexpr size_t kMaxAddress = 254;

// The host has checked addresses; one that could add a command to the session must not get through here either.
bool IsSafeAddress(std::string_view address, bool& utf8) {
  if (address.size() > kMaxAddress) return false;
  for (const char c : address) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte <= 0x20 || byte == 0x7F || c == '<' || c == '>') return false;
    if (byte >= 0x80) utf8 = true;
  }
  return true;
}

// Why this mail must never be written to a server, or nullptr.
const char* Problem(const postbus_mail& mail, bool& dot_lines, bool& utf8_address) {
  if (!IsSafeAddress(View(mail.sender), utf8_address))
    return "the sender's address is too long or has a blank, <, > or control character";
  if (mail.n_recipients == 0) return "the mail has no recipient";
  for (uint32_t i = 0; i < mail.n_recipients; ++i) {
    const std::string_view address = View(mail.recipients[i]);
    if (address.empty() || !IsSafeAddress(address, utf8_address)) {
      return "a recipient's address is empty, too long or has a blank, <, > or control character";
    }
  }
  return RawProblem(View(mail.raw), dot_lines);
}

// RFC 4954 4: a longer AUTH command must leave its initial response to the server's challenge.
constexpr size_t kMaxCommand = 512;

std::string Base64(std::string_view bytes) {
  static constexpr char kDigits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  out.reserve((bytes.size() + 2) / 3 * 4);
  for (size_t i = 0; i < bytes.size(); i += 3) {
    uint32_t group = 0;
    for (size_t j = 0; j < 3; ++j) {
      group = group << 8 | (i + j < bytes.size() ? static_cast<unsigned char>(bytes[i + j]) : 0u);
    }
    for (size_t j = 0; j < 4; ++j) {
      out.push_back(i + j > bytes.size() ? '=' : kDigits[group >> (18 - 6 * j) & 63]);
    }
  }
  return out;
}

std::string_view MechanismName(Auth mechanism) {
  switch (mechanism) {
    case Auth::kLogin:
      return "LOGIN";
    case Auth::kXoauth2:
      return "XOAUTH2";
    default:
      return "PLAIN";
  }
}

}  // namespace

Session::Session(const SessionOptions& options, SessionListener& listener) : options_(options), listener_(listener) {}

void Session::Open(bool loopback) {
  parser_.Reset();
  state_ = State::kOpening;
  opening_ = options_.tls == Tls::kImplicit ? Opening::kHandshake : Opening::kGreeting;
  failure_ = {};
  loopback_ = loopback;
  greeted_ = secured_ = helo_ = abandoned_ = reset_needed_ = false;
  ForgetExtensions();
  mails_taken_ = mails_answered_ = 0;
  replies_ = 0;
  commands_.clear();
  commands_pushed_ = true;
  commands_begin_ = commands_end_ = dot_begin_ = dot_end_ = kNever;
  awaited_ = 0;
  body_ = false;
  permit_ = Permission::kNone;
  first_ = count_ = 0;
  pushed_ = written_ = 0;
}

void Session::ForgetExtensions() {
  pipelining_ = eight_bit_ = smtputf8_ = starttls_ = has_size_ = false;
  size_limit_ = 0;
  mechanisms_.clear();
}

void Session::TlsEstablished() {
  // What was said in the clear may have been said by anybody (RFC 3207 4.2).
  ForgetExtensions();
  secured_ = true;
  helo_ = false;
  if (greeted_) {
    SayHello();
  } else {
    opening_ = Opening::kGreeting;
  }
}

void Session::Receive(std::string_view bytes) {
  while (!bytes.empty() && state_ != State::kFailed) {
    if (wants_tls()) {
      RefuseServer(POSTBUS_PHASE_TLS,
                   " sent more than its reply to STARTTLS before the TLS handshake: somebody may be injecting replies");
      return;
    }
    switch (parser_.Feed(bytes)) {
      case ReplyParser::Progress::kNeedMore:
        return;
      case ReplyParser::Progress::kGarbage:
        OutOfStep("the server sent something that is no SMTP reply");
        return;
      case ReplyParser::Progress::kReply:
        ++replies_;
        OnReply(parser_.reply());
        break;
    }
  }
}

void Session::Lost(std::string_view reason) { EndAll(/*dead=*/true, nullptr, reason); }

void Session::Quit() {
  state_ = State::kQuitting;
  BeginBatch();
  Append("QUIT\r\n");
}

Wait Session::waiting() const {
  switch (state_) {
    case State::kOpening:
      switch (opening_) {
        case Opening::kGreeting:
          return Wait::kGreeting;
        case Opening::kEhlo:
          return Wait::kEhlo;
        case Opening::kStartTls:
        case Opening::kHandshake:
          return Wait::kTls;
        case Opening::kAuth:
          return Wait::kAuth;
      }
      return Wait::kNothing;
    case State::kQuitting:
      return Wait::kQuit;
    case State::kFailed:
      return Wait::kNothing;
    case State::kReady:
      break;
  }
  switch (now_.step) {
    case Step::kNone:
      return Wait::kNothing;
    case Step::kReset:
    case Step::kMail:
      return Wait::kMail;
    case Step::kRcpt:
      return Wait::kRcpt;
    case Step::kData:
      return Wait::kDataInitiation;
    case Step::kBody:
      if (permit_ == Permission::kNeeded) return Wait::kNothing;
      return DotWritten() ? Wait::kDataTermination : Wait::kDataBlock;
    case Step::kLoneDot:
      return Wait::kDataTermination;
  }
  return Wait::kNothing;
}

// --- replies ---------------------------------------------------------------------------------------------------------

void Session::OnReply(const Reply& reply) {
  if (state_ == State::kQuitting) {
    state_ = State::kFailed;
    return;
  }
  if (state_ == State::kReady) {
    if (now_.step == Step::kNone) {  // 421 to an idle client, or nonsense
      EndAll(/*dead=*/true, &reply, {});
      return;
    }
    if (now_.step == Step::kBody) {
      OnBodyReply(reply);
      return;
    }
  }
  if (state_ == State::kReady || opening_ != Opening::kGreeting) {
    // The last reply of a batch needs all of it sent, and any reply the beginning: a server that answers earlier is
    // answering something else.
    if (written_ <= commands_begin_ || (awaited_ == 1 && written_ < commands_end_)) {
      OutOfStep("the server answered a command before it was sent");
      return;
    }
    --awaited_;
  }
  if (state_ == State::kOpening) {
    OnOpeningReply(reply);
    return;
  }
  if (reply.code == 421) {
    EndAll(/*dead=*/true, &reply, {});
    return;
  }
  switch (now_.step) {
    case Step::kReset:
      if (OutcomeOfReply(POSTBUS_PHASE_MAIL, reply) != POSTBUS_ACCEPTED) {
        EndAll(/*dead=*/true, &reply, {});
        return;
      }
      now_.step = Step::kMail;
      if (!pipelining_ && !AppendNext()) EndTransaction();
      break;
    case Step::kMail:
      OnMailReply(reply);
      break;
    case Step::kRcpt:
      OnRcptReply(reply);
      break;
    case Step::kData:
      OnDataReply(reply);
      break;
    case Step::kLoneDot:  // no recipient was accepted: whatever it says, nobody has got anything
      now_.mail_accepted = false;
      EndTransaction();
      break;
    case Step::kNone:
    case Step::kBody:
      break;
  }
}

void Session::OnOpeningReply(const Reply& reply) {
  switch (opening_) {
    case Opening::kGreeting:
      if (OutcomeOfReply(POSTBUS_PHASE_GREETING, reply) != POSTBUS_ACCEPTED) break;
      greeted_ = true;
      SayHello();
      return;
    case Opening::kEhlo:
      if (OutcomeOfReply(POSTBUS_PHASE_EHLO, reply) == POSTBUS_ACCEPTED) {
        if (!helo_) ParseExtensions(reply.text);
        Opened();
        return;
      }
      if (helo_ || reply.code / 100 != 5) break;
      helo_ = true;  // RFC 5321 3.2: a server that does not know EHLO
      SayHello();
      return;
    case Opening::kStartTls:
      if (reply.code != 220) break;
      opening_ = Opening::kHandshake;
      return;
    case Opening::kAuth:
      OnAuthReply(reply);
      return;
    case Opening::kHandshake:
      return;
  }
  EndAll(/*dead=*/false, &reply, {});
}

void Session::SayHello() {
  opening_ = Opening::kEhlo;
  BeginBatch();
  Append(helo_ ? "HELO " : "EHLO ");
  commands_.append(options_.helo_name).append("\r\n");
}

// The server has said who it is and what it offers.
void Session::Opened() {
  if (options_.tls == Tls::kStartTls && !secured_) {
    if (!starttls_) {
      RefuseServer(POSTBUS_PHASE_TLS, " offers no STARTTLS; for a local test server set tls: none");
      return;
    }
    opening_ = Opening::kStartTls;
    BeginBatch();
    Append("STARTTLS\r\n");
    return;
  }
  if (options_.username.empty()) {
    state_ = State::kReady;
  } else {
    StartAuth();
  }
}

void Session::StartAuth() {
  if (!secured_ && !loopback_) {
    RefuseServer(POSTBUS_PHASE_AUTH, " would get the password in the clear; set tls: starttls or tls: implicit");
    return;
  }
  mechanism_ = options_.auth;
  if (mechanism_ == Auth::kAuto) {
    mechanism_ = mechanisms_.find(" PLAIN ") == std::string::npos && mechanisms_.find(" LOGIN ") != std::string::npos
                     ? Auth::kLogin
                     : Auth::kPlain;
  }
  const std::string_view name = MechanismName(mechanism_);
  if (mechanisms_.find(" " + std::string(name) + " ") == std::string::npos) {
    scratch_ = mechanisms_.empty() ? " offers no AUTH" : " offers no AUTH " + std::string(name) + ", but" + mechanisms_;
    while (scratch_.ends_with(' ')) scratch_.pop_back();
    RefuseServer(POSTBUS_PHASE_AUTH,
                 scratch_ + (mechanisms_.empty() ? "; leave username empty where none is wanted" : "; see auth"));
    return;
  }
  next_response_ = 0;
  responses_[1].clear();
  switch (mechanism_) {
    case Auth::kLogin:
      responses_[0] = Base64(options_.username);
      responses_[1] = Base64(options_.password);
      break;
    case Auth::kXoauth2:
      // The second answers a challenge that has the error in it: the server's 5xx follows.
      responses_[0] = Base64("user=" + options_.username +
                             "\x01"
                             "auth=Bearer " +
                             options_.password + "\x01\x01");
      break;
    default:
      responses_[0] = Base64('\0' + options_.username + '\0' + options_.password);
  }
  opening_ = Opening::kAuth;
  BeginBatch();
  Append("AUTH ");
  commands_.append(name);
  if (mechanism_ != Auth::kLogin && commands_.size() + 1 + responses_[0].size() + 2 <= kMaxCommand) {
    commands_.append(" ").append(responses_[next_response_++]);
  }
  commands_.append("\r\n");
}

void Session::OnAuthReply(const Reply& reply) {
  if (reply.code == 235) {
    commands_.clear();
    state_ = State::kReady;
  } else if (reply.code != 334) {
    EndAll(/*dead=*/false, &reply, {});
  } else if (next_response_ == (mechanism_ == Auth::kPlain ? 1 : 2)) {
    OutOfStep("the server asks for more than AUTH has to say");
  } else {
    BeginBatch();
    Append(responses_[next_response_++]);
    commands_.append("\r\n");
  }
}

void Session::ParseExtensions(std::string_view text) {
  for (bool first = true; !text.empty(); first = false) {
    std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(line.size() + 1, text.size()));
    if (first) continue;  // the server's name
    const std::string_view keyword = line.substr(0, line.find(' '));
    line.remove_prefix(std::min(keyword.size() + 1, line.size()));
    if (sdk::EqualIgnoringCase(keyword, "PIPELINING")) pipelining_ = options_.pipelining;
    if (sdk::EqualIgnoringCase(keyword, "8BITMIME")) eight_bit_ = true;
    if (sdk::EqualIgnoringCase(keyword, "SMTPUTF8")) smtputf8_ = true;
    if (sdk::EqualIgnoringCase(keyword, "STARTTLS")) starttls_ = true;
    if (sdk::EqualIgnoringCase(keyword, "AUTH")) {
      mechanisms_.assign(" ").append(line).push_back(' ');
      std::transform(mechanisms_.begin(), mechanisms_.end(), mechanisms_.begin(),
                     [](char c) { return c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c; });
    }
    if (sdk::EqualIgnoringCase(keyword, "SIZE")) {
      has_size_ = true;
      std::from_chars(line.data(), line.data() + line.size(), size_limit_);
    }
  }
}

Judgement Session::Judge(int32_t phase, const Reply& reply) const {
  Judgement found = options_.rules.Find(reply);
  if (found.outcome == 0) return {OutcomeOfReply(phase, reply), 0};
  if (found.outcome == POSTBUS_REJECTED_MESSAGE && phase == POSTBUS_PHASE_RCPT) {
    found.outcome = POSTBUS_REJECTED_RECIPIENT;
  }
  return found;
}

void Session::OnMailReply(const Reply& reply) {
  const Judgement judgement = Judge(POSTBUS_PHASE_MAIL, reply);
  if (judgement.outcome == 0) {
    OutOfStep("the server's reply to MAIL makes no sense");
    return;
  }
  now_.mail_accepted = judgement.outcome == POSTBUS_ACCEPTED;
  if (!now_.mail_accepted && now_.task != nullptr) {
    ++mails_answered_;
    Finish(now_, MakeVerdict(now_, judgement, POSTBUS_PHASE_MAIL, &reply));
  }
  now_.step = Step::kRcpt;
  if (!pipelining_ && !AppendNext()) EndTransaction();
}

void Session::OnRcptReply(const Reply& reply) {
  const Judgement judgement = Judge(POSTBUS_PHASE_RCPT, reply);
  if (judgement.outcome == 0) {
    OutOfStep("the server's reply to RCPT makes no sense");
    return;
  }
  if (judgement.outcome == POSTBUS_ACCEPTED) {
    ++now_.accepted;
  } else if (now_.task != nullptr) {
    Verdict verdict = MakeVerdict(now_, judgement, POSTBUS_PHASE_RCPT, &reply);
    verdict.recipient = now_.answered;
    verdict.too_many = judgement.outcome == POSTBUS_TRANSIENT && IsTooManyRecipients(reply);
    now_.refused.push_back(verdict);
  }
  if (++now_.answered == now_.recipients) now_.step = Step::kData;
  if (pipelining_ || AppendNext()) return;
  if (now_.task != nullptr) {
    ++mails_answered_;
    Finish(now_, {});
  }
  EndTransaction();
}

void Session::OnDataReply(const Reply& reply) {
  const Judgement judgement = Judge(POSTBUS_PHASE_DATA, reply);
  if (judgement.outcome == 0) {
    OutOfStep("the server's reply to DATA makes no sense");
    return;
  }
  const bool go_on = judgement.outcome == POSTBUS_ACCEPTED;
  if (now_.accepted == 0 || !go_on) {
    if (now_.task != nullptr) {
      ++mails_answered_;
      Finish(now_, now_.accepted == 0 ? Verdict() : MakeVerdict(now_, judgement, POSTBUS_PHASE_DATA, &reply));
    }
    if (!go_on) {
      EndTransaction();
      return;
    }
    // RFC 2920 3.1: the server wants a mail for nobody; it gets an empty one.
    now_.step = Step::kLoneDot;
    BeginBatch();
    Append(".\r\n");
    return;
  }
  now_.step = Step::kBody;
  if (now_.task == nullptr) {  // withdrawn: the server must not get so much as an empty mail
    EndAll(/*dead=*/true, nullptr, {});
    return;
  }
  const std::string_view raw = View(now_.task->mail->raw);
  body_ = true;
  stuffer_ = DotStuffer(raw, now_.dot_lines);
  limit_ = raw.size() - std::min(raw.size(), kHeldBack);
  permit_ = limit_ == 0 ? Permission::kNeeded : Permission::kAhead;
  dot_begin_ = dot_end_ = kNever;
}

void Session::OnBodyReply(const Reply& reply) {
  const bool final = DotWritten();
  const int32_t phase = final ? POSTBUS_PHASE_FINAL_DOT : POSTBUS_PHASE_BODY;
  const Judgement judgement = Judge(phase, reply);
  if (judgement.outcome == 0) {
    OutOfStep("the server's reply to the mail makes no sense");
    return;
  }
  if (judgement.outcome == POSTBUS_NOT_SENT) {  // 421 in the middle of it
    EndAll(/*dead=*/true, &reply, {});
    return;
  }
  ++mails_answered_;
  if (now_.task != nullptr) Finish(now_, MakeVerdict(now_, judgement, phase, &reply));
  if (final && reply.code != 421) {
    now_.mail_accepted = false;
    EndTransaction();
    return;
  }
  if (final) now_.step = Step::kNone;
  EndAll(/*dead=*/true, &reply, {});
}

// --- commands --------------------------------------------------------------------------------------------------------

bool Session::CanTakeAhead() const {
  return ready() && pipelining_ && now_.step == Step::kBody && permit_ == Permission::kGranted &&
         dot_begin_ == kNever && ahead_.step == Step::kNone;
}

void Session::Take(MailTask& task) {
  const postbus_mail& mail = *task.mail;
  bool dot_lines = false;
  bool utf8_address = (mail.flags & POSTBUS_MAIL_SMTPUTF8) != 0;
  if (const char* problem = Problem(mail, dot_lines, utf8_address); problem != nullptr) {
    FinishUntried(task, POSTBUS_REJECTED_MESSAGE, problem);
    return;
  }
  Transaction& transaction = now_.step == Step::kNone ? now_ : ahead_;
  transaction.utf8_address = utf8_address;
  if (const std::string_view lacking = Unsupported(mail, transaction); !lacking.empty()) {
    FinishUntried(task, POSTBUS_UNSUPPORTED, lacking);
    return;
  }
  transaction.task = &task;
  transaction.dot_lines = dot_lines;
  transaction.mail_accepted = false;
  transaction.recipients = mail.n_recipients;
  transaction.answered = transaction.accepted = 0;
  transaction.refused.clear();
  transaction.texts.clear();
  transaction.step = reset_needed_ ? Step::kReset : Step::kMail;
  ++mails_taken_;

  BeginBatch();
  if (reset_needed_) Append("RSET\r\n");
  if (pipelining_) {
    AppendMail(transaction);
    for (uint32_t i = 0; i < mail.n_recipients; ++i) AppendRcpt(transaction, i);
    Append("DATA\r\n");
  } else if (!reset_needed_) {
    AppendMail(transaction);
  }
  reset_needed_ = false;
}

std::string_view Session::Unsupported(const postbus_mail& mail, Transaction& transaction) {
  if (transaction.utf8_address && !smtputf8_) {
    const auto is_ascii = [](postbus_str address) { return sdk::IsAscii(View(address)); };
    if (!is_ascii(mail.sender) || !std::all_of(mail.recipients, mail.recipients + mail.n_recipients, is_ascii)) {
      return "an address needs SMTPUTF8, which the server does not offer";
    }
    const std::string_view raw = View(mail.raw);
    if (!sdk::IsAscii(raw.substr(0, raw.find("\r\n\r\n")))) {
      return "the mail's header needs SMTPUTF8, which the server does not offer";
    }
    transaction.utf8_address = false;
  }
  if ((mail.flags & POSTBUS_MAIL_8BIT) != 0 && !eight_bit_)
    return "the mail needs 8BITMIME, which the server does not offer";
  if (size_limit_ == 0 || mail.raw.size <= size_limit_) return {};
  scratch_ = "the mail has ";
  AppendNumber(mail.raw.size, scratch_);
  scratch_.append(" bytes, the server takes ");
  AppendNumber(size_limit_, scratch_);
  return scratch_;
}

void Session::BeginBatch() {
  commands_.clear();
  commands_pushed_ = false;
  commands_begin_ = commands_end_ = kNever;
  awaited_ = 0;
}

void Session::Append(std::string_view command) {
  commands_.append(command);
  ++awaited_;
}

void Session::AppendPath(std::string_view address) {
  commands_.push_back('<');
  commands_.append(address);
  commands_.push_back('>');
}

void Session::AppendMail(const Transaction& transaction) {
  const postbus_mail& mail = *transaction.task->mail;
  Append("MAIL FROM:");
  AppendPath(View(mail.sender));
  if (has_size_) {
    commands_.append(" SIZE=");
    AppendNumber(mail.raw.size, commands_);
  }
  if ((mail.flags & POSTBUS_MAIL_8BIT) != 0) commands_.append(" BODY=8BITMIME");
  if (transaction.utf8_address) commands_.append(" SMTPUTF8");
  commands_.append("\r\n");
}

void Session::AppendRcpt(const Transaction& transaction, uint32_t index) {
  Append("RCPT TO:");
  AppendPath(View(transaction.task->mail->recipients[index]));
  commands_.append("\r\n");
}

bool Session::AppendNext() {
  if (now_.task == nullptr) return false;
  if (now_.step == Step::kData && now_.accepted == 0) return false;
  BeginBatch();
  if (now_.step == Step::kMail) {
    AppendMail(now_);
  } else if (now_.step == Step::kRcpt) {
    AppendRcpt(now_, now_.answered);
  } else {
    Append("DATA\r\n");
  }
  return true;
}

void Session::EndTransaction() {
  reset_needed_ = now_.mail_accepted;
  now_.step = Step::kNone;
  body_ = false;
  permit_ = Permission::kNone;
  dot_begin_ = dot_end_ = kNever;
  std::swap(now_, ahead_);
}

// --- outcomes --------------------------------------------------------------------------------------------------------

void Session::Permit(bool go) {
  if (go) {
    permit_ = Permission::kGranted;
    limit_ = now_.task->mail->raw.size;
    return;
  }
  Withdraw(*now_.task, "the host did not permit it");
}

bool Session::Withdraw(const MailTask& task, std::string_view reason) {
  if (ahead_.task == &task) {
    Finish(ahead_, MakeVerdict(ahead_, {POSTBUS_NOT_SENT}, POSTBUS_PHASE_MAIL, nullptr, reason));
    return true;
  }
  if (now_.task != &task || (now_.step == Step::kBody && permit_ == Permission::kGranted) || DotBegun()) return false;
  Finish(now_, MakeVerdict(now_, {POSTBUS_NOT_SENT}, PhaseOf(now_), nullptr, reason));
  // After 354 there is no way out but to break the connection. The server did nothing wrong: no reason to back off.
  if (now_.step == Step::kBody) {
    EndAll(/*dead=*/true, nullptr, {});
    ++mails_answered_;
  }
  return true;
}

MailTask& Session::TakeBackAhead() { return *std::exchange(ahead_.task, nullptr); }

int32_t Session::PhaseOf(const Transaction& transaction) const {
  switch (transaction.step) {
    case Step::kRcpt:
      return POSTBUS_PHASE_RCPT;
    case Step::kData:
      return POSTBUS_PHASE_DATA;
    case Step::kBody:
      return DotBegun() ? POSTBUS_PHASE_FINAL_DOT : POSTBUS_PHASE_BODY;
    default:
      return POSTBUS_PHASE_MAIL;
  }
}

Session::Verdict Session::MakeVerdict(Transaction& transaction, Judgement judgement, int32_t phase, const Reply* reply,
                                      std::string_view reason) {
  Verdict verdict;
  verdict.outcome = judgement.outcome;
  verdict.retry_after_ms = judgement.retry_after_ms;
  verdict.phase = phase;
  verdict.text_begin = transaction.texts.size();
  if (reply != nullptr) {
    verdict.code = reply->code;
    verdict.enhanced = reply->enhanced;
    AppendWords(reply->text, transaction.texts);
  } else {
    transaction.texts.append(reason);
  }
  verdict.text_size = transaction.texts.size() - verdict.text_begin;
  return verdict;
}

void Session::Finish(Transaction& transaction, Verdict whole) {
  MailTask& task = *transaction.task;
  transaction.task = nullptr;
  const std::string_view texts = transaction.texts;
  for (Verdict& verdict : transaction.refused) {
    // Too many for one transaction, while others were taken: the rest goes in another one, at once and at no cost. If
    // not one was taken the server means something else.
    if (verdict.too_many && transaction.accepted > 0) verdict.outcome = POSTBUS_NOT_SENT;
  }
  const bool all_refused = transaction.refused.size() == transaction.recipients;
  if (all_refused) whole = transaction.refused.front();

  results_.clear();
  result_pointers_.clear();
  if (!all_refused || transaction.recipients > 1) {
    for (const Verdict& verdict : transaction.refused) {
      results_.push_back({.size = sizeof(postbus_recipient_result),
                          .recipient = verdict.recipient,
                          .outcome = verdict.outcome,
                          .phase = verdict.phase,
                          .code = verdict.code,
                          .enhanced = {verdict.enhanced[0], verdict.enhanced[1], verdict.enhanced[2]},
                          .text = Str(texts.substr(verdict.text_begin, verdict.text_size))});
    }
    for (const postbus_recipient_result& result : results_) result_pointers_.push_back(&result);
  }
  const std::string_view text = texts.substr(whole.text_begin, whole.text_size);
  const std::string_view id = whole.outcome == POSTBUS_ACCEPTED ? ProviderId(text) : std::string_view();
  listener_.OnFinished(task, {.size = sizeof(postbus_result),
                              .n_recipients = static_cast<uint32_t>(result_pointers_.size()),
                              .outcome = whole.outcome,
                              .phase = whole.phase,
                              .code = whole.code,
                              .enhanced = {whole.enhanced[0], whole.enhanced[1], whole.enhanced[2]},
                              .retry_after_ms = whole.retry_after_ms,
                              .text = Str(text),
                              .provider_id = Str(id),
                              .recipients = result_pointers_.data()});
}

void Session::FinishUntried(MailTask& task, int32_t outcome, std::string_view reason) {
  postbus_result result{};
  result.size = sizeof result;
  result.outcome = outcome;
  result.text = Str(reason);
  listener_.OnFinished(task, result);
}

void Session::EndAll(bool dead, const Reply* reply, std::string_view reason) {
  Judgement judgement{POSTBUS_NOT_SENT};  // of the mail at work, where it is not in doubt
  if (reply != nullptr) {
    if (const Judgement found = options_.rules.Find(*reply); found.outcome != 0) judgement = found;
  }
  if (state_ == State::kOpening) {
    failure_.phase = OpeningPhase();
    if (reply != nullptr) {
      failure_.code = reply->code;
      failure_.enhanced = reply->enhanced;
      failure_.retry_after_ms = judgement.retry_after_ms;
      if (judgement.outcome == POSTBUS_THROTTLED) failure_.outcome = POSTBUS_THROTTLED;
      if (opening_ == Opening::kAuth && Repeats(reply->text)) {
        failure_.text = "AUTH failed, in words that repeat the password";
      } else {
        AppendWords(reply->text, failure_.text);
      }
    } else {
      failure_.text = reason;
    }
    if (failure_.text.empty()) failure_.text = "the server refused without a word";
  }
  const bool in_doubt = DotBegun();
  const bool reused = mails_answered_ > 0;
  if (now_.step == Step::kBody && !in_doubt) abandoned_ = true;
  for (Transaction* transaction : {&now_, &ahead_}) {
    if (MailTask* task = transaction->task; task != nullptr) {
      if (in_doubt && transaction == &now_) {
        Finish(now_, MakeVerdict(now_, {POSTBUS_IN_DOUBT}, POSTBUS_PHASE_FINAL_DOT, reply, reason));
      } else if (transaction == &now_ && judgement.outcome != POSTBUS_NOT_SENT) {
        Finish(now_, MakeVerdict(now_, judgement, PhaseOf(now_), reply));
      } else if (dead && reused && !task->retried) {
        task->retried = true;
        transaction->task = nullptr;
        listener_.OnReturned(*task);
      } else {
        Finish(*transaction, MakeVerdict(*transaction, {POSTBUS_NOT_SENT}, PhaseOf(*transaction), reply, reason));
      }
    }
    transaction->step = Step::kNone;
  }
  state_ = State::kFailed;
  body_ = false;
  permit_ = Permission::kNone;
  first_ = count_ = 0;
}

void Session::OutOfStep(std::string_view what) { EndAll(/*dead=*/false, nullptr, what); }

void Session::RefuseServer(int32_t phase, std::string_view what) {
  EndAll(/*dead=*/false, nullptr, options_.server + std::string(what));
  failure_.phase = phase;
}

int32_t Session::OpeningPhase() const {
  switch (opening_) {
    case Opening::kGreeting:
      return POSTBUS_PHASE_GREETING;
    case Opening::kEhlo:
      return POSTBUS_PHASE_EHLO;
    case Opening::kStartTls:
    case Opening::kHandshake:
      return POSTBUS_PHASE_TLS;
    case Opening::kAuth:
      return POSTBUS_PHASE_AUTH;
  }
  return POSTBUS_PHASE_NONE;
}

bool Session::Repeats(std::string_view text) const {
  if (!options_.password.empty() && text.find(options_.password) != std::string_view::npos) return true;
  return std::any_of(std::begin(responses_), std::end(responses_), [&](const std::string& response) {
    return !response.empty() && text.find(response) != std::string_view::npos;
  });
}

// --- output ----------------------------------------------------------------------------------------------------------

void Session::Push(std::string_view piece) {
  pieces_[count_++] = piece;
  pushed_ += piece.size();
}

std::span<const std::string_view> Session::Output() {
  if (state_ == State::kFailed || permit_ == Permission::kNeeded) return {};
  if (first_ == count_) {
    first_ = count_ = 0;
    while (count_ < pieces_.size()) {
      if (body_) {
        const std::string_view raw = View(now_.task->mail->raw);
        if (const std::string_view piece = stuffer_.Next(limit_); !piece.empty()) {
          Push(piece);
        } else if (limit_ == raw.size()) {
          const std::string_view terminator = Terminator(raw);
          dot_begin_ = pushed_ + terminator.find('.');
          Push(terminator);
          dot_end_ = pushed_;
          body_ = false;
        } else {
          if (count_ == 0) permit_ = Permission::kNeeded;
          break;
        }
      } else if (!commands_pushed_) {
        commands_begin_ = pushed_;
        Push(commands_);
        commands_end_ = pushed_;
        commands_pushed_ = true;
      } else {
        break;
      }
    }
  }
  return std::span(pieces_).subspan(first_, count_ - first_);
}

void Session::Written(size_t n) {
  written_ += n;
  while (n > 0) {
    std::string_view& piece = pieces_[first_];
    const size_t taken = std::min(n, piece.size());
    piece.remove_prefix(taken);
    n -= taken;
    if (piece.empty()) ++first_;
  }
}

}  // namespace postbus::smtp
