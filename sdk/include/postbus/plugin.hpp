// postbus/plugin.hpp - the C++ face of the plugin ABI: option tables, the host, outcomes. Header-only, C++20, on top of
// nothing but the C ABI (postbus/abi.h) and the standard library. A whole transport plugin:
//
//   #include "postbus/blocking_transport.hpp"
//
//   namespace acme {
//   namespace sdk = postbus::sdk;
//
//   constexpr sdk::About kAbout{
//       .id = "acme", .version = "1.0.0", .summary = "Hands mails to Acme.", .caps = POSTBUS_TRANSPORT_WANTS_RAW};
//   constexpr std::array kOptions = {
//       sdk::StringOption("token", "The API token.").Required().Secret(),
//       sdk::IntegerOption("threads", "Mails sent at the same time.").Default("4").Range(1, 64).Unit("threads")};
//
//   class Acme : public sdk::BlockingTransport {
//    public:
//     Acme(sdk::Host host, const sdk::Options& options)
//         : BlockingTransport(host, options.Integer("threads")), token_(options.String("token")) {}
//
//     sdk::Outcome Send(const postbus_mail& mail) override {
//       if (mail.raw.size > 1'000'000) return sdk::Outcome::RejectedMessage("larger than Acme takes");
//       return sdk::Outcome::Accepted("acme-" + token_.substr(0, 1));
//     }
//
//    private:
//     std::string token_;
//   };
//   }  // namespace acme
//
//   POSTBUS_EXPORT_TRANSPORT(acme::Acme, acme::kAbout, acme::kOptions);
//
// Where to go on: blocking_transport.hpp (threads are the SDK's), transport.hpp (you do the I/O), renderer.hpp,
// testing/fake_host.hpp (unit tests without a host). No exception of yours reaches the host: see barrier.hpp.
// Errors in construction: throw std::runtime_error with a sentence that says what, where and what to do.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "postbus/abi.h"

namespace postbus::sdk {

constexpr std::string_view View(postbus_str text) { return {text.data, text.size}; }
constexpr postbus_str Str(std::string_view text) { return {text.data(), text.size()}; }

// What a plugin is. Make it `constexpr` at namespace scope: the export macros take it by reference.
struct About {
  std::string_view id;       // noun of the protocol or service: "smtp", "mailtrap"
  std::string_view version;  // of the plugin
  std::string_view summary;  // one sentence
  uint32_t caps = 0;         // POSTBUS_TRANSPORT_*; renderers: 0
};

// One line of an option table; a postbus_option that can be written as a chain. Make the table a `constexpr
// std::array`.
struct Option : postbus_option {
  constexpr Option(uint32_t option_type, std::string_view option_name, std::string_view sentence) : postbus_option{} {
    size = sizeof(postbus_option);
    type = option_type;
    name = Str(option_name);
    default_value = Str("");
    choices = Str("");
    unit = Str("");
    description = Str(sentence);
  }

 private:
  // Before its uses: clang does not look further down for a constant expression.
  template <typename Change>
  constexpr Option With(Change change) const {
    Option copy = *this;
    change(copy);
    return copy;
  }

 public:
  constexpr Option Required() const {
    return With([](Option& o) { o.flags |= POSTBUS_OPTION_REQUIRED; });
  }
  constexpr Option Secret() const {
    return With([](Option& o) { o.flags |= POSTBUS_OPTION_SECRET; });
  }
  // As it would be written in YAML: "30s", "10MiB", "true".
  constexpr Option Default(std::string_view value) const {
    return With([&](Option& o) { o.default_value = Str(value); });
  }
  // What an INTEGER counts: "connections". "port" gives its own wording in errors.
  constexpr Option Unit(std::string_view counted) const {
    return With([&](Option& o) { o.unit = Str(counted); });
  }
  // Inclusive; milliseconds for durations, bytes for sizes.
  constexpr Option Range(int64_t least, int64_t most) const {
    return With([&](Option& o) {
      o.minimum = least;
      o.maximum = most;
    });
  }
  constexpr Option Choices(std::string_view separated_by_bars) const {
    return With([&](Option& o) { o.choices = Str(separated_by_bars); });
  }
};

constexpr Option StringOption(std::string_view name, std::string_view sentence) {
  return {POSTBUS_OPTION_STRING, name, sentence};
}
constexpr Option IntegerOption(std::string_view name, std::string_view sentence) {
  return {POSTBUS_OPTION_INTEGER, name, sentence};
}
constexpr Option BooleanOption(std::string_view name, std::string_view sentence) {
  return Option(POSTBUS_OPTION_BOOLEAN, name, sentence).Default("false");
}
constexpr Option DurationOption(std::string_view name, std::string_view sentence) {
  return {POSTBUS_OPTION_DURATION, name, sentence};
}
constexpr Option SizeOption(std::string_view name, std::string_view sentence) {
  return {POSTBUS_OPTION_SIZE, name, sentence};
}
// `choices` as "starttls|implicit|none".
constexpr Option EnumOption(std::string_view name, std::string_view choices, std::string_view sentence) {
  return Option(POSTBUS_OPTION_ENUM, name, sentence).Choices(choices);
}
constexpr Option PathOption(std::string_view name, std::string_view sentence) {
  return {POSTBUS_OPTION_PATH, name, sentence};
}
constexpr Option ListOption(std::string_view name, std::string_view sentence) {
  return {POSTBUS_OPTION_LIST, name, sentence};
}

// The parsed values, by name ("port") or by an enum whose values are the table's indexes. What is returned is a copy,
// so it may be kept; this object itself is valid only during construction. Asking for a name that is not in the table,
// or for another type than the table's, is a defect of the plugin: std::logic_error.
class Options {
 public:
  Options(const postbus_options& values, std::span<const Option> table) : values_(values), table_(table) {}

  template <typename Key>
  std::string String(const Key& key) const {
    return std::string(View(Value(key, POSTBUS_OPTION_STRING).string));
  }
  template <typename Key>
  int64_t Integer(const Key& key) const {
    return Value(key, POSTBUS_OPTION_INTEGER).integer;
  }
  template <typename Key>
  bool Boolean(const Key& key) const {
    return Value(key, POSTBUS_OPTION_BOOLEAN).integer != 0;
  }
  template <typename Key>
  std::chrono::milliseconds Duration(const Key& key) const {
    return std::chrono::milliseconds(Value(key, POSTBUS_OPTION_DURATION).integer);
  }
  // Bytes.
  template <typename Key>
  int64_t Size(const Key& key) const {
    return Value(key, POSTBUS_OPTION_SIZE).integer;
  }
  template <typename Key>
  std::string Enum(const Key& key) const {
    return std::string(View(Value(key, POSTBUS_OPTION_ENUM).string));
  }
  // Absolute.
  template <typename Key>
  std::string Path(const Key& key) const {
    return std::string(View(Value(key, POSTBUS_OPTION_PATH).string));
  }
  template <typename Key>
  std::vector<std::string> List(const Key& key) const {
    const postbus_value& value = Value(key, POSTBUS_OPTION_LIST);
    std::vector<std::string> items;
    items.reserve(value.n_items);
    for (uint32_t i = 0; i < value.n_items; ++i) items.emplace_back(View(value.items[i]));
    return items;
  }
  // The configuration did not name it.
  template <typename Key>
  bool IsDefault(const Key& key) const {
    return values_.values[Index(key)]->is_default != 0;
  }

 private:
  template <typename Key>
  size_t Index(const Key& key) const {
    if constexpr (std::is_enum_v<Key>) {
      const auto index = static_cast<size_t>(key);
      if (index < values_.n_values && index < table_.size()) return index;
      throw std::logic_error("plugin defect: it asked for option number " + std::to_string(index) + " of " +
                             std::to_string(table_.size()));
    } else {
      const std::string_view name = key;
      for (size_t i = 0; i < table_.size() && i < values_.n_values; ++i) {
        if (View(table_[i].name) == name) return i;
      }
      throw std::logic_error("plugin defect: its option table has no \"" + std::string(name) + "\"");
    }
  }

  template <typename Key>
  const postbus_value& Value(const Key& key, uint32_t type) const {
    const size_t index = Index(key);
    if (table_[index].type != type) {
      throw std::logic_error("plugin defect: option \"" + std::string(View(table_[index].name)) +
                             "\" was read as another type than its table says");
    }
    return *values_.values[index];
  }

  const postbus_options& values_;
  std::span<const Option> table_;
};

// RFC 3463 class, subject, detail; class 0: none.
using EnhancedCode = std::array<uint16_t, 3>;

// Of one recipient, where it differs from the mail's. Fields as in postbus_recipient_result.
struct RecipientOutcome {
  uint32_t recipient = 0;  // index into postbus_mail.recipients
  int32_t outcome = POSTBUS_IN_DOUBT;
  int32_t phase = POSTBUS_PHASE_NONE;
  uint16_t code = 0;
  EnhancedCode enhanced{};
  std::string text;
};

// What became of one attempt; fields as in postbus_result. `text` is the server's words or the reason: no address, no
// secret. Add what is known: `Outcome::Transient("mailbox busy").At(POSTBUS_PHASE_RCPT, 450, {4, 2, 1})`.
struct Outcome {
  int32_t outcome = POSTBUS_IN_DOUBT;  // one nobody filled in must not pass for sent or for not sent
  int32_t phase = POSTBUS_PHASE_NONE;
  uint16_t code = 0;
  EnhancedCode enhanced{};
  uint64_t retry_after_ms = 0;
  std::string text;
  std::string provider_id;
  std::vector<RecipientOutcome> recipients;

  // The next hop took responsibility. `id` is the one it gave the mail.
  static Outcome Accepted(std::string id, std::string text = "") {
    Outcome accepted = Of(POSTBUS_ACCEPTED, std::move(text));
    accepted.provider_id = std::move(id);
    return accepted;
  }
  // The server put this mail off.
  static Outcome Transient(std::string text) { return Of(POSTBUS_TRANSIENT, std::move(text)); }
  static Outcome Throttled(uint64_t retry_after_ms, std::string text) {
    return Of(POSTBUS_THROTTLED, std::move(text)).RetryAfter(retry_after_ms);
  }
  static Outcome RejectedRecipient(std::string text) { return Of(POSTBUS_REJECTED_RECIPIENT, std::move(text)); }
  static Outcome RejectedMessage(std::string text) { return Of(POSTBUS_REJECTED_MESSAGE, std::move(text)); }
  static Outcome Unsupported(std::string text) { return Of(POSTBUS_UNSUPPORTED, std::move(text)); }
  // What it does to every mail: DNS, connect, TLS, AUTH, quota, 5xx of the service.
  static Outcome ProviderFault(std::string text) { return Of(POSTBUS_PROVIDER_FAULT, std::move(text)); }
  // Before the point of no return.
  static Outcome NotSent(std::string text) { return Of(POSTBUS_NOT_SENT, std::move(text)); }
  // After it, and no answer.
  static Outcome InDoubt(std::string text) { return Of(POSTBUS_IN_DOUBT, std::move(text)); }

  Outcome At(int32_t reached, uint16_t reply = 0, EnhancedCode status = {}) && {
    phase = reached;
    code = reply;
    enhanced = status;
    return std::move(*this);
  }
  Outcome RetryAfter(uint64_t milliseconds) && {
    retry_after_ms = milliseconds;
    return std::move(*this);
  }
  // This recipient (an index into postbus_mail.recipients) fared otherwise, as the same answer tells.
  void Except(uint32_t recipient, int32_t its_outcome) {
    recipients.push_back({.recipient = recipient,
                          .outcome = its_outcome,
                          .phase = phase,
                          .code = code,
                          .enhanced = enhanced,
                          .text = text});
  }

 private:
  static Outcome Of(int32_t outcome, std::string text) {
    Outcome made;
    made.outcome = outcome;
    made.text = std::move(text);
    return made;
  }
};

enum class LogLevel : int32_t {
  kDebug = POSTBUS_LOG_DEBUG,
  kInfo = POSTBUS_LOG_INFO,
  kWarning = POSTBUS_LOG_WARNING,
  kError = POSTBUS_LOG_ERROR
};

// The host, for one instance. A handle: copy it. What it has here is there in every host of ABI 1.x. Any thread; valid
// until the instance's destructor has returned.
class Host {
 public:
  explicit Host(const postbus_host* host) : host_(host) {}

  // No address, no secret.
  void Log(LogLevel level, std::string_view text) const noexcept {
    host_->log(host_->ctx, static_cast<int32_t>(level), Str(text));
  }
  // CLOCK_BOOTTIME; what deadlines are given in.
  int64_t NowMs() const noexcept { return host_->now_ms(host_->ctx); }

  // The point of no return, for several mails: writes POSTBUS_GO or POSTBUS_ABORT into verdicts[i]. A GO lapses after
  // 2 s. REQUIRES: equal sizes.
  void PermitSend(std::span<const uint64_t> tokens, std::span<uint8_t> verdicts) const noexcept {
    host_->permit_send(host_->ctx, tokens.data(), verdicts.data(), static_cast<uint32_t>(tokens.size()));
  }
  bool PermitSend(uint64_t token) const noexcept {
    uint8_t verdict = POSTBUS_ABORT;
    PermitSend({&token, 1}, {&verdict, 1});
    return verdict == POSTBUS_GO;
  }

  // Ends an attempt; exactly once for each mail taken.
  void Complete(uint64_t token, const postbus_result& result) const noexcept {
    host_->complete(host_->ctx, token, &result);
  }
  void Complete(uint64_t token, const Outcome& outcome) const noexcept {
    std::vector<postbus_recipient_result> results(outcome.recipients.size());
    std::vector<const postbus_recipient_result*> pointers(outcome.recipients.size());
    for (size_t i = 0; i < results.size(); ++i) {
      const RecipientOutcome& from = outcome.recipients[i];
      results[i] = {.size = sizeof(postbus_recipient_result),
                    .recipient = from.recipient,
                    .outcome = from.outcome,
                    .phase = from.phase,
                    .code = from.code,
                    .enhanced = {from.enhanced[0], from.enhanced[1], from.enhanced[2]},
                    .text = Str(from.text)};
      pointers[i] = &results[i];
    }
    Complete(token, postbus_result{.size = sizeof(postbus_result),
                                   .n_recipients = static_cast<uint32_t>(pointers.size()),
                                   .outcome = outcome.outcome,
                                   .phase = outcome.phase,
                                   .code = outcome.code,
                                   .enhanced = {outcome.enhanced[0], outcome.enhanced[1], outcome.enhanced[2]},
                                   .retry_after_ms = outcome.retry_after_ms,
                                   .text = Str(outcome.text),
                                   .provider_id = Str(outcome.provider_id),
                                   .recipients = pointers.data()});
  }

  // After a Submit that took fewer mails than offered: there is room again.
  void Writable() const noexcept { host_->writable(host_->ctx); }

  // Host extensions by id; nullptr if this host has none of that id.
  const void* Get(std::string_view extension_id) const noexcept { return host_->get(host_->ctx, Str(extension_id)); }

 private:
  const postbus_host* host_;
};

// A sink of the host's. Valid for the call it was lent to.
class Sink {
 public:
  explicit Sink(const postbus_sink* sink) : sink_(sink) {}
  void Write(std::string_view bytes) const { sink_->write(sink_->ctx, bytes.data(), bytes.size()); }

 private:
  const postbus_sink* sink_;
};

// The array of pointers the ABI wants, for a constexpr table; a constant, so nothing runs when the plugin is loaded.
template <const auto& kTable>
inline constexpr auto kOptionPointers = []<size_t... kIndex>(std::index_sequence<kIndex...>) {
  return std::array<const postbus_option*, sizeof...(kIndex)>{&kTable[kIndex]...};
}
(std::make_index_sequence<kTable.size()>{});

template <const About& kAbout, const auto& kTable>
constexpr postbus_entry MakeEntry(uint32_t kind, const void* (*get)(postbus_str)) {
  return {.magic = POSTBUS_ABI_MAGIC,
          .size = sizeof(postbus_entry),
          .abi_major = POSTBUS_ABI_MAJOR,
          .abi_minor = POSTBUS_ABI_MINOR,
          .kind = kind,
          .id = Str(kAbout.id),
          .version = Str(kAbout.version),
          .summary = Str(kAbout.summary),
          .options = kOptionPointers<kTable>.data(),
          .n_options = static_cast<uint32_t>(kTable.size()),
          .reserved = 0,
          .get = get};
}

}  // namespace postbus::sdk
