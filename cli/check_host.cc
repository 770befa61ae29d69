#include "cli/check_host.h"

#include <algorithm>
#include <charconv>
#include <optional>
#include <set>

#include "event/clock.h"
#include "host/abi_sizes.h"
#include "host/plugin_calls.h"

namespace postbus {
namespace {

std::string Named(uint64_t token) { return "mail " + std::to_string(token); }

bool IsOutcome(int32_t outcome) { return outcome >= POSTBUS_ACCEPTED && outcome <= POSTBUS_IN_DOUBT; }
bool IsPhase(int32_t phase) { return phase >= POSTBUS_PHASE_NONE && phase <= POSTBUS_PHASE_REQUEST; }
bool IsText(postbus_str text) { return text.size == 0 || (text.data != nullptr && text.size <= kMaxPluginText); }

// After these the server may have the mail.
bool WasSent(int32_t outcome) { return outcome == POSTBUS_ACCEPTED || outcome == POSTBUS_IN_DOUBT; }

// "" or what is wrong with it.
std::string ResultFault(const postbus_result* result, uint32_t n_recipients) {
  if (result == nullptr) return "no result";
  if (result->size < kResultSize) return "a result whose size is not sizeof(postbus_result)";
  if (!IsOutcome(result->outcome)) return "the unknown outcome " + std::to_string(result->outcome);
  if (!IsPhase(result->phase)) return "the unknown phase " + std::to_string(result->phase);
  if (!IsText(result->text) || !IsText(result->provider_id)) return "a text at address 0 or larger than 4 KiB";
  if (result->n_recipients != 0 && result->recipients == nullptr) return "recipients at address 0";
  std::set<uint32_t> named;
  for (uint32_t i = 0; i < result->n_recipients; ++i) {
    const postbus_recipient_result* const one = result->recipients[i];
    if (one == nullptr || one->size < kRecipientResultSize) return "a recipient's result whose size is not its sizeof";
    if (one->recipient >= n_recipients)
      return "a result for recipient " + std::to_string(one->recipient) + ", which it does not have";
    if (!named.insert(one->recipient).second) return "two results for recipient " + std::to_string(one->recipient);
    if (!IsOutcome(one->outcome) || !IsPhase(one->phase)) return "an unknown outcome or phase of a recipient";
    if (!IsText(one->text)) return "a recipient's text at address 0 or larger than 4 KiB";
  }
  return {};
}

// The tokens of the mails in `bytes`: the samples' event ids are `event-` and the token.
std::set<uint64_t> TokensIn(std::string_view bytes) {
  constexpr std::string_view kMark = "event-";
  std::set<uint64_t> tokens;
  for (size_t at = bytes.find(kMark); at != bytes.npos; at = bytes.find(kMark, at + 1)) {
    uint64_t token = 0;
    const char* const begin = bytes.data() + at + kMark.size();
    if (std::from_chars(begin, bytes.data() + bytes.size(), token).ec == std::errc()) tokens.insert(token);
  }
  return tokens;
}

}  // namespace

CheckHost::CheckHost() {
  abi_ = {.size = sizeof(postbus_host),
          .abi_major = POSTBUS_ABI_MAJOR,
          .abi_minor = POSTBUS_ABI_MINOR,
          .ctx = this,
          .log = &Log,
          .now_ms = [](void*) { return BootTimeMs(); },
          .permit_send = &PermitSend,
          .complete = &Complete,
          .writable = &Writable,
          .get = [](void*, postbus_str) -> const void* { return nullptr; }};
}

void CheckHost::AbortAll() {
  const std::lock_guard lock(mutex_);
  abort_all_ = true;
}

void CheckHost::Plant(std::string secret) {
  const std::lock_guard lock(mutex_);
  planted_.push_back(std::move(secret));
}

void CheckHost::Offer(uint64_t token, uint32_t n_recipients, CheckMemory* memory) {
  const std::lock_guard lock(mutex_);
  attempts_[token] = {.memory = memory, .n_recipients = n_recipients};
}

void CheckHost::NotTaken(uint64_t token) {
  const std::lock_guard lock(mutex_);
  Attempt& attempt = attempts_[token];
  attempt.taken = false;
  if (attempt.outcome != 0) KeepFault("submit did not take " + Named(token) + ", and yet it was completed");
  changed_.notify_all();
}

void CheckHost::SetOpen(bool is_open) {
  const std::lock_guard lock(mutex_);
  is_open_ = is_open;
}

void CheckHost::OnWire(std::string_view bytes) {
  const std::set<uint64_t> tokens = TokensIn(bytes);
  const std::lock_guard lock(mutex_);
  for (const uint64_t token : tokens) {
    const auto attempt = attempts_.find(token);
    if (attempt != attempts_.end() && !attempt->second.permitted) {
      KeepFault(Named(token) +
                " was at the provider before permit_send had said GO; ask before the first byte of its body");
    }
  }
  if (tokens.empty() && ++on_wire_unnamed_ > permitted_) {
    KeepFault("a mail was at the provider before permit_send had said GO; ask before the first byte of its body");
  }
}

void CheckHost::Fault(std::string sentence) {
  const std::lock_guard lock(mutex_);
  KeepFault(std::move(sentence));
}

void CheckHost::CheckText(std::string_view what, std::string_view text) {
  const std::lock_guard lock(mutex_);
  KeepTextFault(what, text);
}

std::string CheckHost::fault() const {
  const std::lock_guard lock(mutex_);
  return fault_;
}

int32_t CheckHost::OutcomeOf(uint64_t token) const {
  const std::lock_guard lock(mutex_);
  const auto attempt = attempts_.find(token);
  return attempt == attempts_.end() ? 0 : attempt->second.outcome;
}

size_t CheckHost::taken() const {
  const std::lock_guard lock(mutex_);
  return static_cast<size_t>(
      std::count_if(attempts_.begin(), attempts_.end(), [](const auto& attempt) { return attempt.second.taken; }));
}

size_t CheckHost::completed() const {
  const std::lock_guard lock(mutex_);
  return CompletedLocked();
}

bool CheckHost::WaitUntilCompleted(std::chrono::milliseconds limit) const {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, limit, [&] {
    return !fault_.empty() || std::all_of(attempts_.begin(), attempts_.end(), [](const auto& attempt) {
      return !attempt.second.taken || attempt.second.outcome != 0;
    });
  });
}

uint64_t CheckHost::writable_calls() const {
  const std::lock_guard lock(mutex_);
  return writable_calls_;
}

bool CheckHost::WaitUntilWritable(uint64_t times, std::chrono::milliseconds limit) const {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, limit, [&] { return writable_calls_ > times || !fault_.empty(); });
}

void CheckHost::Log(void* ctx, int32_t /*level*/, postbus_str message) noexcept {
  CheckHost& self = Of(ctx);
  const std::lock_guard lock(self.mutex_);
  self.KeepCall("log");
  self.KeepTextFault("a log line", PluginText(message));
}

void CheckHost::PermitSend(void* ctx, const uint64_t* tokens, uint8_t* verdicts, uint32_t n) noexcept {
  CheckHost& self = Of(ctx);
  const std::lock_guard lock(self.mutex_);
  self.KeepCall("permit_send");
  for (uint32_t i = 0; i < n; ++i) {
    verdicts[i] = POSTBUS_ABORT;
    const auto attempt = self.attempts_.find(tokens[i]);
    if (attempt == self.attempts_.end()) {
      self.KeepFault("it asked permit_send for token " + std::to_string(tokens[i]) + ", which it was not given");
    } else if (attempt->second.outcome != 0) {
      self.KeepFault("it asked permit_send for " + Named(tokens[i]) + " after it had completed it");
    } else if (!self.abort_all_) {
      verdicts[i] = POSTBUS_GO;
      self.permitted_ += attempt->second.permitted ? 0 : 1;
      attempt->second.permitted = true;
    }
  }
}

void CheckHost::Complete(void* ctx, uint64_t token, const postbus_result* result) noexcept {
  CheckHost& self = Of(ctx);
  const std::lock_guard lock(self.mutex_);
  self.KeepCall("complete");
  self.changed_.notify_all();
  const auto found = self.attempts_.find(token);
  if (found == self.attempts_.end()) {
    return self.KeepFault("it completed token " + std::to_string(token) + ", which it was not given");
  }
  Attempt& attempt = found->second;
  if (attempt.outcome != 0) return self.KeepFault("it completed " + Named(token) + " twice");
  if (!attempt.taken) return self.KeepFault("it completed " + Named(token) + ", which submit did not take");
  if (const std::string fault = ResultFault(result, attempt.n_recipients); !fault.empty()) {
    self.KeepFault("it completed " + Named(token) + " with " + fault);
  } else {
    self.KeepTextFault("a result's text", PluginText(result->text));
    for (uint32_t i = 0; i < result->n_recipients; ++i) {
      self.KeepTextFault("a recipient's text", PluginText(result->recipients[i]->text));
    }
    if (!attempt.permitted && WasSent(result->outcome)) {
      self.KeepFault("it completed " + Named(token) + " as " +
                     (result->outcome == POSTBUS_ACCEPTED ? "ACCEPTED" : "IN_DOUBT") +
                     (self.abort_all_ ? " although permit_send said ABORT; that is NOT_SENT"
                                      : " and had not asked permit_send; ask before the mail goes out"));
    }
  }
  attempt.outcome = result != nullptr && IsOutcome(result->outcome) ? result->outcome : POSTBUS_IN_DOUBT;
  attempt.memory->TakeAway();
}

void CheckHost::Writable(void* ctx) noexcept {
  CheckHost& self = Of(ctx);
  const std::lock_guard lock(self.mutex_);
  self.KeepCall("writable");
  ++self.writable_calls_;
  self.changed_.notify_all();
}

void CheckHost::KeepFault(std::string sentence) {
  if (fault_.empty()) fault_ = std::move(sentence);
  changed_.notify_all();
}

void CheckHost::KeepCall(std::string_view function) {
  if (!is_open_) KeepFault("it called " + std::string(function) + " after destroy had returned");
}

void CheckHost::KeepTextFault(std::string_view what, std::string_view text) {
  for (const std::string& secret : planted_) {
    if (text.find(secret) != text.npos) KeepFault(std::string(what) + " has the value of a secret option in it");
  }
  if (text.find("@example.org") != text.npos) KeepFault(std::string(what) + " has a recipient's address in it");
}

size_t CheckHost::CompletedLocked() const {
  return static_cast<size_t>(std::count_if(attempts_.begin(), attempts_.end(),
                                           [](const auto& attempt) { return attempt.second.outcome != 0; }));
}

}  // namespace postbus
