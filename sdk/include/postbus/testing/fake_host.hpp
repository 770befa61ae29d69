// postbus/testing/fake_host.hpp - a host for a plugin author's unit tests: records what a transport says and plays the
// verdicts it is told to; and a mail and options to give it. Not for plugins themselves.
#pragma once

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <set>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "postbus/plugin.hpp"

namespace postbus::sdk::testing {

struct Completion {
  uint64_t token = 0;
  Outcome outcome;
};

// Thread-safe. Must outlive the instance it was given to. Its clock is a steady one plus what Advance added.
class FakeHost {
 public:
  FakeHost() = default;
  FakeHost(const FakeHost&) = delete;
  FakeHost& operator=(const FakeHost&) = delete;

  const postbus_host* abi() const { return &abi_; }
  Host host() const { return Host(&abi_); }

  // permit_send answers ABORT for this token from now on; GO is what it answers otherwise.
  void Abort(uint64_t token) {
    const std::lock_guard lock(mutex_);
    aborted_.insert(token);
  }
  void Advance(std::chrono::milliseconds by) {
    const std::lock_guard lock(mutex_);
    advanced_ms_ += by.count();
  }
  int64_t NowMs() const {
    const std::lock_guard lock(mutex_);
    return std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now().time_since_epoch())
               .count() +
           advanced_ms_;
  }

  // In the order they came; a token completed twice is there twice.
  std::vector<Completion> completions() const { return Copy(completions_); }
  std::vector<Completion> completions(uint64_t token) const {
    std::vector<Completion> found = completions();
    std::erase_if(found, [&](const Completion& completion) { return completion.token != token; });
    return found;
  }
  // Tokens permit_send was asked for.
  std::vector<uint64_t> asked() const { return Copy(asked_); }
  std::vector<std::string> logs() const { return Copy(logs_); }
  size_t writable_calls() const { return Copy(writable_calls_); }

  // True as soon as there are `n` completions; false when `limit` has passed.
  bool WaitForCompletions(size_t n, std::chrono::milliseconds limit = std::chrono::seconds(20)) const {
    return WaitFor([&] { return completions_.size() >= n; }, limit);
  }
  bool WaitForWritable(std::chrono::milliseconds limit = std::chrono::seconds(20)) const {
    return WaitFor([&] { return writable_calls_ > 0; }, limit);
  }

 private:
  static FakeHost& Of(void* ctx) { return *static_cast<FakeHost*>(ctx); }

  static void Log(void* ctx, int32_t /*level*/, postbus_str message) {
    FakeHost& self = Of(ctx);
    const std::lock_guard lock(self.mutex_);
    self.logs_.emplace_back(View(message));
  }
  static int64_t Now(void* ctx) { return Of(ctx).NowMs(); }
  static void PermitSend(void* ctx, const uint64_t* tokens, uint8_t* verdicts, uint32_t n) {
    FakeHost& self = Of(ctx);
    const std::lock_guard lock(self.mutex_);
    for (uint32_t i = 0; i < n; ++i) {
      self.asked_.push_back(tokens[i]);
      verdicts[i] = self.aborted_.contains(tokens[i]) ? POSTBUS_ABORT : POSTBUS_GO;
    }
  }
  static void Complete(void* ctx, uint64_t token, const postbus_result* result) {
    FakeHost& self = Of(ctx);
    Completion completion{.token = token, .outcome = {}};
    Outcome& outcome = completion.outcome;
    outcome.outcome = result->outcome;
    outcome.phase = result->phase;
    outcome.code = result->code;
    outcome.enhanced = std::to_array(result->enhanced);
    outcome.retry_after_ms = result->retry_after_ms;
    outcome.text = View(result->text);
    outcome.provider_id = View(result->provider_id);
    for (uint32_t i = 0; i < result->n_recipients; ++i) {
      const postbus_recipient_result& recipient = *result->recipients[i];
      outcome.recipients.push_back({.recipient = recipient.recipient,
                                    .outcome = recipient.outcome,
                                    .phase = recipient.phase,
                                    .code = recipient.code,
                                    .enhanced = std::to_array(recipient.enhanced),
                                    .text = std::string(View(recipient.text))});
    }
    const std::lock_guard lock(self.mutex_);
    self.completions_.push_back(std::move(completion));
    self.changed_.notify_all();
  }
  static void Writable(void* ctx) {
    FakeHost& self = Of(ctx);
    const std::lock_guard lock(self.mutex_);
    ++self.writable_calls_;
    self.changed_.notify_all();
  }
  static const void* Get(void* /*ctx*/, postbus_str /*extension_id*/) { return nullptr; }

  template <typename T>
  T Copy(const T& guarded) const {
    const std::lock_guard lock(mutex_);
    return guarded;
  }
  template <typename Condition>
  bool WaitFor(Condition condition, std::chrono::milliseconds limit) const {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, limit, condition);
  }

  const postbus_host abi_ = {.size = sizeof(postbus_host),
                             .abi_major = POSTBUS_ABI_MAJOR,
                             .abi_minor = POSTBUS_ABI_MINOR,
                             .ctx = this,
                             .log = &Log,
                             .now_ms = &Now,
                             .permit_send = &PermitSend,
                             .complete = &Complete,
                             .writable = &Writable,
                             .get = &Get};

  mutable std::mutex mutex_;  // guards all below
  mutable std::condition_variable changed_;
  std::set<uint64_t> aborted_;
  int64_t advanced_ms_ = 0;
  std::vector<Completion> completions_;
  std::vector<uint64_t> asked_;
  std::vector<std::string> logs_;
  size_t writable_calls_ = 0;
};

// A file of a FakeMail, as postbus_attachment has it.
struct FakeAttachment {
  std::string filename;
  std::string content_type = "application/octet-stream";
  std::string content_id;
  std::string base64;
};

// A mail with all it points to. Change the members, then take the view.
class FakeMail {
 public:
  using Pairs = std::vector<std::pair<std::string, std::string>>;

  explicit FakeMail(uint64_t number) : token(number), event_id("event-" + std::to_string(number)) {}

  // Valid until a member is changed or this object goes.
  const postbus_mail& view() {
    recipient_views_.clear();
    for (const auto* list : {&recipients, &cc, &bcc}) {
      for (const std::string& address : *list) recipient_views_.push_back(Str(address));
    }
    to_views_ = Mailboxes(recipients);
    cc_views_ = Mailboxes(cc);
    bcc_views_ = Mailboxes(bcc);
    reply_to_views_ = Mailboxes(reply_to);
    header_views_ = Headers(headers);
    metadata_views_ = Headers(metadata);
    tag_views_.clear();
    for (const std::string& tag : tags) tag_views_.push_back(Str(tag));
    attachment_views_.clear();
    for (const FakeAttachment& file : attachments) {
      attachment_views_.push_back({.size = sizeof(postbus_attachment),
                                   .reserved = 0,
                                   .filename = Str(file.filename),
                                   .content_type = Str(file.content_type),
                                   .content_id = Str(file.content_id),
                                   .base64 = Str(file.base64)});
    }
    attachment_pointers_.clear();
    for (const postbus_attachment& file : attachment_views_) attachment_pointers_.push_back(&file);
    message_id_ = "<" + event_id + "@example.com>";
    parts_ = {.size = sizeof(postbus_parts),
              .n_to = Size(to_views_),
              .n_cc = Size(cc_views_),
              .n_bcc = Size(bcc_views_),
              .n_reply_to = Size(reply_to_views_),
              .n_headers = Size(header_views_),
              .n_attachments = Size(attachment_pointers_),
              .n_tags = Size(tag_views_),
              .n_metadata = Size(metadata_views_),
              .reserved = 0,
              .date_unix_ms = 1'700'000'000'000,
              .from = {.name = Str("Shop"), .address = Str(sender)},
              .to = to_views_.data(),
              .cc = cc_views_.data(),
              .bcc = bcc_views_.data(),
              .reply_to = reply_to_views_.data(),
              .subject = Str(subject),
              .text = Str(text),
              .html = Str(html),
              .headers = header_views_.data(),
              .attachments = attachment_pointers_.data(),
              .tags = tag_views_.data(),
              .metadata = metadata_views_.data()};
    view_ = {.size = sizeof(postbus_mail),
             .flags = flags,
             .token = token,
             .event_id = Str(event_id),
             .idempotency_key = Str(event_id),
             .message_id = Str(message_id_),
             .sender = Str(sender),
             .recipients = recipient_views_.data(),
             .n_recipients = Size(recipient_views_),
             .attempt = 1,
             .raw = Str(raw),
             .parts = &parts_,
             .deadline_ms = deadline_ms};
    return view_;
  }

  uint64_t token;
  uint32_t flags = 0;
  std::string event_id;
  std::string sender = "shop@example.com";
  std::vector<std::string> recipients = {"a@example.org"};  // of `to`; those of cc and bcc follow in the envelope
  std::vector<std::string> cc;
  std::vector<std::string> bcc;
  std::vector<std::string> reply_to;
  std::string raw = "From: shop@example.com\r\nTo: a@example.org\r\nSubject: Hello\r\n\r\nHello\r\n";
  std::string subject = "Hello";
  std::string text = "Hello\n";
  std::string html;
  Pairs headers;
  Pairs metadata;
  std::vector<std::string> tags;
  std::vector<FakeAttachment> attachments;
  int64_t deadline_ms = INT64_MAX;

 private:
  template <typename T>
  static uint32_t Size(const std::vector<T>& list) {
    return static_cast<uint32_t>(list.size());
  }
  static std::vector<postbus_mailbox> Mailboxes(const std::vector<std::string>& addresses) {
    std::vector<postbus_mailbox> views;
    for (const std::string& address : addresses) views.push_back({.name = Str(""), .address = Str(address)});
    return views;
  }
  static std::vector<postbus_header> Headers(const Pairs& pairs) {
    std::vector<postbus_header> views;
    for (const auto& [name, value] : pairs) views.push_back({.name = Str(name), .value = Str(value)});
    return views;
  }

  std::string message_id_;
  std::vector<postbus_str> recipient_views_;
  std::vector<postbus_mailbox> to_views_;
  std::vector<postbus_mailbox> cc_views_;
  std::vector<postbus_mailbox> bcc_views_;
  std::vector<postbus_mailbox> reply_to_views_;
  std::vector<postbus_header> header_views_;
  std::vector<postbus_header> metadata_views_;
  std::vector<postbus_str> tag_views_;
  std::vector<postbus_attachment> attachment_views_;
  std::vector<const postbus_attachment*> attachment_pointers_;
  postbus_parts parts_ = {};
  postbus_mail view_ = {};
};

// Values for an option table: those given, typed as the option is (text, number, items); the others are zero or empty,
// since only the host reads defaults. std::logic_error for a name that is not in the table.
class FakeOptions {
 public:
  using Value = std::variant<std::string, int64_t, std::vector<std::string>>;

  FakeOptions(std::span<const Option> table, std::vector<std::pair<std::string, Value>> given)
      : table_(table), given_(std::move(given)) {
    values_.assign(table.size(), {.size = sizeof(postbus_value),
                                  .is_default = 1,
                                  .integer = 0,
                                  .string = Str(""),
                                  .items = nullptr,
                                  .n_items = 0,
                                  .reserved = 0});
    items_.resize(table.size());
    for (const auto& [name, value] : given_) Set(name, value);
    for (const postbus_value& value : values_) pointers_.push_back(&value);
    abi_ = {.size = sizeof(postbus_options),
            .n_values = static_cast<uint32_t>(pointers_.size()),
            .values = pointers_.data()};
  }
  FakeOptions(const FakeOptions&) = delete;
  FakeOptions& operator=(const FakeOptions&) = delete;

  const postbus_options& abi() const { return abi_; }
  Options options() const { return {abi_, table_}; }

 private:
  void Set(const std::string& name, const Value& value) {
    const auto found =
        std::find_if(table_.begin(), table_.end(), [&](const Option& o) { return View(o.name) == name; });
    if (found == table_.end()) throw std::logic_error("FakeOptions: the table has no \"" + name + "\"");
    const auto index = static_cast<size_t>(found - table_.begin());
    postbus_value& to = values_[index];
    to.is_default = 0;
    if (const auto* text = std::get_if<std::string>(&value)) {
      to.string = Str(*text);
    } else if (const auto* number = std::get_if<int64_t>(&value)) {
      to.integer = *number;
    } else {
      for (const std::string& item : std::get<std::vector<std::string>>(value)) items_[index].push_back(Str(item));
      to.items = items_[index].data();
      to.n_items = static_cast<uint32_t>(items_[index].size());
    }
  }

  std::span<const Option> table_;
  std::vector<std::pair<std::string, Value>> given_;  // what the values point to
  std::vector<std::vector<postbus_str>> items_;
  std::vector<postbus_value> values_;
  std::vector<const postbus_value*> pointers_;
  postbus_options abi_ = {};
};

}  // namespace postbus::sdk::testing
