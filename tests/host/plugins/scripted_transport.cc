// A transport for tests of the pipeline: what becomes of a recipient is its local part, up to the first "+":
// accepted, transient, rejected, in_doubt, throttled; fault-once, not-sent-once (then accepted), fault-while-file (a
// provider fault while the file named by option `fault_file` exists); twice (completes a second time); past-deadline
// (asks for its permit when the mail's deadline has passed); hold (completes when cancelled or quiesced),
// hold-while-file; ask-late (asks for its permit when that file is gone); crash (ends the process by SIGABRT), segv (by
// SIGSEGV); slow-submit (its submit returns after three seconds). Completes from a thread of its own, permits asked as
// a real transport would.
#include <algorithm>
#include <condition_variable>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <set>
#include <thread>
#include <vector>

#include "postbus/transport.hpp"

namespace {

namespace sdk = postbus::sdk;

constexpr sdk::About kAbout{.id = "scripted",
                            .version = "1",
                            .summary = "Does what recipients say.",
                            .caps = POSTBUS_TRANSPORT_WANTS_RAW | POSTBUS_TRANSPORT_WANTS_PARTS};
constexpr std::array kOptions = {
    sdk::StringOption("fault_file", "While it exists, fault-while-file recipients get a provider fault.").Default(""),
    sdk::PathOption("ca_file", "Is not read.").Default(""),
    sdk::StringOption("record_file", "Gets a line a mail: its envelope and its parts.").Default(""),
    sdk::IntegerOption("room", "Mails taken at the same time.").Default("1000").Range(1, 100'000).Unit("mails")};

class Scripted : public sdk::Transport {
 public:
  Scripted(sdk::Host host, const sdk::Options& options)
      : host_(host),
        fault_file_(options.String("fault_file")),
        record_file_(options.String("record_file")),
        room_(static_cast<size_t>(options.Integer("room"))),
        thread_([this] { Run(); }) {}

  ~Scripted() override {
    {
      const std::lock_guard lock(mutex_);
      stop_ = true;
    }
    wake_.notify_all();
    thread_.join();
  }

  bool Probe(int64_t, std::string&) override { return true; }

  uint32_t Submit(std::span<const postbus_mail* const> mails) override {
    if (Word(mails[0]->recipients[0]) == "slow-submit") std::this_thread::sleep_for(std::chrono::seconds(3));
    const std::lock_guard lock(mutex_);
    uint32_t taken = 0;
    while (taken < mails.size() && queue_.size() + held_.size() < room_) queue_.push_back(mails[taken++]);
    full_ = taken < mails.size();
    wake_.notify_all();
    return taken;
  }

  void Cancel(std::span<const uint64_t> tokens) override {
    for (const uint64_t token : tokens) Release(token, sdk::Outcome::NotSent("cancelled"));
  }

  void Quiesce(int64_t) override {
    std::vector<uint64_t> tokens;
    {
      const std::lock_guard lock(mutex_);
      quiesced_ = true;
      for (const postbus_mail* mail : held_) tokens.push_back(mail->token);
    }
    for (const uint64_t token : tokens) Release(token, sdk::Outcome::Accepted("late"));
  }

  uint32_t Outstanding() const override {
    const std::lock_guard lock(mutex_);
    return static_cast<uint32_t>(queue_.size() + held_.size() + (working_ ? 1 : 0));
  }

 private:
  void Release(uint64_t token, const sdk::Outcome& outcome) {
    {
      const std::lock_guard lock(mutex_);
      const auto found =
          std::find_if(held_.begin(), held_.end(), [&](const postbus_mail* mail) { return mail->token == token; });
      if (found == held_.end()) return;
      held_.erase(found);
    }
    host_.Complete(token, outcome);
  }

  void Run() {
    std::unique_lock lock(mutex_);
    while (true) {
      wake_.wait(lock, [this] { return stop_ || !queue_.empty(); });
      if (stop_) return;
      const postbus_mail* mail = queue_.front();
      queue_.erase(queue_.begin());
      const std::string word = Word(mail->recipients[0]);
      const bool holds = word == "hold" || (word == "hold-while-file" && std::filesystem::exists(fault_file_));
      if (word == "crash") std::abort();  // before it asks for a permit
      if (word == "segv") *nowhere_ = 1;
      if (holds && !quiesced_) {
        held_.push_back(mail);
        continue;
      }
      working_ = true;
      lock.unlock();
      Deliver(*mail);
      lock.lock();
      working_ = false;
      if (full_) {
        full_ = false;
        lock.unlock();
        host_.Writable();
        lock.lock();
      }
    }
  }

  static std::string Word(postbus_str recipient) {
    const std::string_view address = sdk::View(recipient);
    return std::string(address.substr(0, address.find_first_of("+@")));
  }

  int32_t OutcomeOf(postbus_str recipient) {
    const std::string word = Word(recipient);
    const bool first = seen_.insert(std::string(sdk::View(recipient))).second;
    if (word == "transient") return POSTBUS_TRANSIENT;
    if (word == "rejected") return POSTBUS_REJECTED_RECIPIENT;
    if (word == "in_doubt") return POSTBUS_IN_DOUBT;
    if (word == "throttled") return POSTBUS_THROTTLED;
    if (word == "fault-once" && first) return POSTBUS_PROVIDER_FAULT;
    if (word == "not-sent-once" && first) return POSTBUS_NOT_SENT;
    if (word == "fault-while-file" && std::filesystem::exists(fault_file_)) return POSTBUS_PROVIDER_FAULT;
    return POSTBUS_ACCEPTED;
  }

  static void Add(std::ofstream& out, const char* what, const postbus_mailbox* mailboxes, uint32_t n) {
    out << "|" << what;
    for (uint32_t i = 0; i < n; ++i) {
      out << " " << sdk::View(mailboxes[i].name) << "<" << sdk::View(mailboxes[i].address) << ">";
    }
  }

  static void Add(std::ofstream& out, const char* what, const postbus_header* pairs, uint32_t n) {
    out << "|" << what;
    for (uint32_t i = 0; i < n; ++i) out << " " << sdk::View(pairs[i].name) << "=" << sdk::View(pairs[i].value);
  }

  void Record(const postbus_mail& mail) {
    std::ofstream out(record_file_, std::ios::app);
    const postbus_parts& parts = *mail.parts;
    out << "rcpt";
    for (uint32_t i = 0; i < mail.n_recipients; ++i) out << " " << sdk::View(mail.recipients[i]);
    Add(out, "to", parts.to, parts.n_to);
    Add(out, "cc", parts.cc, parts.n_cc);
    Add(out, "bcc", parts.bcc, parts.n_bcc);
    Add(out, "reply_to", parts.reply_to, parts.n_reply_to);
    Add(out, "headers", parts.headers, parts.n_headers);
    Add(out, "metadata", parts.metadata, parts.n_metadata);
    out << "|tags";
    for (uint32_t i = 0; i < parts.n_tags; ++i) out << " " << sdk::View(parts.tags[i]);
    for (uint32_t i = 0; i < parts.n_attachments; ++i) {
      const postbus_attachment& file = *parts.attachments[i];
      out << "|file " << sdk::View(file.filename) << " " << sdk::View(file.content_type) << " "
          << sdk::View(file.content_id) << " " << sdk::View(file.base64);
    }
    const std::string_view key = sdk::View(mail.idempotency_key);
    if (key != sdk::View(mail.event_id)) out << "|key " << key;
    out << "|" << sdk::View(parts.subject) << "|" << sdk::View(parts.text) << "|" << sdk::View(parts.html) << "|flags "
        << mail.flags << "\n";
  }

  void Deliver(const postbus_mail& mail) {
    if (!record_file_.empty()) Record(mail);
    const uint64_t token = mail.token;
    uint8_t verdict = POSTBUS_ABORT;
    if (Word(mail.recipients[0]) == "past-deadline") {
      std::this_thread::sleep_for(std::chrono::milliseconds(std::max<int64_t>(0, mail.deadline_ms - host_.NowMs())));
    }
    while (Word(mail.recipients[0]) == "ask-late" && std::filesystem::exists(fault_file_)) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    host_.PermitSend(std::span(&token, 1), std::span(&verdict, 1));
    if (verdict != POSTBUS_GO) return host_.Complete(token, sdk::Outcome::NotSent("the host said no"));
    std::vector<postbus_recipient_result> results(mail.n_recipients);
    std::vector<const postbus_recipient_result*> pointers;
    for (uint32_t i = 0; i < mail.n_recipients; ++i) {
      results[i] = {};
      results[i].size = sizeof results[i];
      results[i].recipient = i;
      results[i].outcome = OutcomeOf(mail.recipients[i]);
      results[i].code = results[i].outcome == POSTBUS_ACCEPTED ? 250 : 450;
      results[i].text = sdk::Str("said <ada@example.com>");
      pointers.push_back(&results[i]);
    }
    postbus_result result{};
    result.size = sizeof result;
    result.outcome = results[0].outcome;
    result.recipients = pointers.data();
    result.n_recipients = mail.n_recipients;
    const bool twice = Word(mail.recipients[0]) == "twice";
    host_.Complete(token, result);
    if (twice) host_.Complete(token, result);
  }

  const sdk::Host host_;
  const std::string fault_file_;
  const std::string record_file_;
  const size_t room_;
  volatile int* volatile nowhere_ = nullptr;
  std::set<std::string> seen_;
  mutable std::mutex mutex_;
  std::condition_variable wake_;
  std::vector<const postbus_mail*> queue_;
  std::vector<const postbus_mail*> held_;
  bool working_ = false;
  bool full_ = false;
  bool quiesced_ = false;
  bool stop_ = false;
  std::thread thread_;
};

}  // namespace

POSTBUS_EXPORT_TRANSPORT(Scripted, kAbout, kOptions);
