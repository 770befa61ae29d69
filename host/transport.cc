#include "host/transport.h"

#include <algorithm>
#include <atomic>
#include <utility>
#include <vector>

#include "event/clock.h"
#include "host/abi_sizes.h"
#include "host/plugin_calls.h"

namespace postbus {
namespace {

bool IsOutcome(int32_t outcome) { return outcome >= POSTBUS_ACCEPTED && outcome <= POSTBUS_IN_DOUBT; }

int32_t KnownPhase(int32_t phase) {
  return phase >= POSTBUS_PHASE_NONE && phase <= POSTBUS_PHASE_REQUEST ? phase : POSTBUS_PHASE_NONE;
}

// At most kMaxPluginText bytes, and readable.
bool IsSound(postbus_str text) { return text.size <= kMaxPluginText && (text.data != nullptr || text.size == 0); }
postbus_str Sound(postbus_str text) { return AbiText(CutUtf8(PluginText(text), kMaxPluginText)); }

bool IsSound(const postbus_recipient_result* recipient) {
  return recipient != nullptr && recipient->size >= kRecipientResultSize && IsOutcome(recipient->outcome) &&
         recipient->phase == KnownPhase(recipient->phase) && IsSound(recipient->text);
}

bool IsSound(const postbus_result* result) {
  return result != nullptr && result->size >= kResultSize && IsOutcome(result->outcome) &&
         result->phase == KnownPhase(result->phase) && IsSound(result->text) && IsSound(result->provider_id) &&
         (result->n_recipients == 0 || result->recipients != nullptr) &&
         std::all_of(result->recipients, result->recipients + result->n_recipients,
                     [](const postbus_recipient_result* recipient) { return IsSound(recipient); });
}

postbus_result InDoubt(std::string_view text) {
  return {.size = sizeof(postbus_result),
          .n_recipients = 0,
          .outcome = POSTBUS_IN_DOUBT,
          .phase = POSTBUS_PHASE_NONE,
          .code = 0,
          .enhanced = {0, 0, 0},
          .retry_after_ms = 0,
          .text = AbiText(text),
          .provider_id = AbiText(""),
          .recipients = nullptr};
}

}  // namespace

struct Transport::Impl {
  std::shared_ptr<const PluginLibrary> library;
  std::string name;
  TransportSink* sink = nullptr;
  QueueLog log;
  const postbus_transport* table = nullptr;
  postbus_host host = {};
  postbus_instance* instance = nullptr;

  // Defects of the plugin, logged once each: they come with every mail.
  std::atomic<bool> took_too_many{false};
  std::atomic<bool> bad_result{false};
  std::atomic<bool> threw{false};

  void Log(LogLevel level, std::string_view text) const { log(level, name + ": " + OneLine(text)); }

  void LogOnce(std::atomic<bool>& logged, std::string_view text) {
    if (logged.exchange(true, std::memory_order_relaxed)) return;
    Log(LogLevel::kError, std::string(text) + " (defect of plugin " + library->path().string() + "; logged once)");
  }

  // False: it threw.
  template <typename Call>
  bool CallPlugin(Call&& call) {
    const std::string thrown = CatchThrown(std::forward<Call>(call));
    if (!thrown.empty()) LogOnce(threw, thrown);
    return thrown.empty();
  }

  // What is unknown or unreadable in a result means that we do not know what became of the mail.
  void CompleteRepaired(uint64_t token, const postbus_result* result) {
    LogOnce(bad_result, "it completed a mail with a malformed result, which counts as IN_DOUBT where it is unknown");
    if (result == nullptr || result->size < kResultSize || (result->n_recipients != 0 && !result->recipients)) {
      return sink->Complete(token, InDoubt("the transport gave a malformed result"));
    }
    postbus_result repaired = CopyOf(*result);
    if (!IsOutcome(repaired.outcome)) repaired.outcome = POSTBUS_IN_DOUBT;
    repaired.phase = KnownPhase(repaired.phase);
    repaired.text = Sound(repaired.text);
    repaired.provider_id = Sound(repaired.provider_id);
    std::vector<postbus_recipient_result> recipients;
    for (uint32_t i = 0; i < result->n_recipients; ++i) {
      const postbus_recipient_result* const given = result->recipients[i];
      if (given == nullptr || given->size < kRecipientResultSize) {  // it is about a recipient we cannot know
        return sink->Complete(token, InDoubt("the transport gave a malformed result"));
      }
      postbus_recipient_result& recipient = recipients.emplace_back(CopyOf(*given));
      if (!IsOutcome(recipient.outcome)) recipient.outcome = POSTBUS_IN_DOUBT;
      recipient.phase = KnownPhase(recipient.phase);
      recipient.text = Sound(recipient.text);
    }
    std::vector<const postbus_recipient_result*> pointers;
    for (const postbus_recipient_result& recipient : recipients) pointers.push_back(&recipient);
    repaired.recipients = pointers.data();
    sink->Complete(token, repaired);
  }

  // What plugins call. `ctx` is the Impl.
  static void HostLog(void* ctx, int32_t level, postbus_str message) noexcept {
    if (ctx == nullptr) return;
    static_cast<Impl*>(ctx)->Log(ToLogLevel(level), PluginText(message));
  }
  static int64_t HostNowMs(void* /*ctx*/) noexcept { return BootTimeMs(); }
  static void HostPermitSend(void* ctx, const uint64_t* tokens, uint8_t* verdicts, uint32_t n) noexcept {
    if (verdicts == nullptr) return;
    std::fill_n(verdicts, n, static_cast<uint8_t>(POSTBUS_ABORT));
    if (ctx == nullptr || tokens == nullptr || n == 0) return;
    static_cast<Impl*>(ctx)->sink->PermitSend({tokens, n}, {verdicts, n});
  }
  static void HostComplete(void* ctx, uint64_t token, const postbus_result* result) noexcept {
    if (ctx == nullptr) return;
    auto& self = *static_cast<Impl*>(ctx);
    if (IsSound(result)) {
      self.sink->Complete(token, *result);
    } else {
      self.CompleteRepaired(token, result);
    }
  }
  static void HostWritable(void* ctx) noexcept {
    if (ctx != nullptr) static_cast<Impl*>(ctx)->sink->Writable();
  }
  static const void* HostGet(void* /*ctx*/, postbus_str /*extension_id*/) noexcept { return nullptr; }
};

Transport::Transport() : impl_(std::make_unique<Impl>()) {}

Transport::~Transport() {
  if (impl_->instance == nullptr) return;
  impl_->CallPlugin([&] { impl_->table->destroy(impl_->instance); });
}

Result<std::unique_ptr<Transport>> Transport::Create(std::shared_ptr<const PluginLibrary> library, std::string name,
                                                     const PluginOptions& options, TransportSink& sink, QueueLog log) {
  if (library->transport() == nullptr) {
    return Status::Invalid(name + ": " + library->path().string() + " is a renderer, not a transport");
  }
  std::unique_ptr<Transport> transport(new Transport());
  Impl& impl = *transport->impl_;
  impl.library = std::move(library);
  impl.name = std::move(name);
  impl.sink = &sink;
  impl.log = std::move(log);
  impl.table = impl.library->transport();
  impl.host = {.size = sizeof(postbus_host),
               .abi_major = POSTBUS_ABI_MAJOR,
               .abi_minor = POSTBUS_ABI_MINOR,
               .ctx = &impl,
               .log = &Impl::HostLog,
               .now_ms = &Impl::HostNowMs,
               .permit_send = &Impl::HostPermitSend,
               .complete = &Impl::HostComplete,
               .writable = &Impl::HostWritable,
               .get = &Impl::HostGet};

  const std::string problem = CreateInstance(*impl.table, impl.host, options.view(), impl.instance);
  if (!problem.empty()) return Status::Invalid(impl.name + ": " + problem);
  return transport;
}

const std::string& Transport::name() const { return impl_->name; }
const PluginLibrary& Transport::library() const { return *impl_->library; }
bool Transport::wants_raw() const { return (impl_->table->caps & POSTBUS_TRANSPORT_WANTS_RAW) != 0; }
bool Transport::wants_parts() const { return (impl_->table->caps & POSTBUS_TRANSPORT_WANTS_PARTS) != 0; }
bool Transport::test_only() const { return (impl_->table->caps & POSTBUS_TRANSPORT_TEST_ONLY) != 0; }

Status Transport::Probe(int64_t deadline_boot_ms) {
  std::string report;
  const StringSink sink(report, kMaxPluginText);
  int32_t result = POSTBUS_ERROR;
  const std::string thrown =
      CatchThrown([&] { result = impl_->table->probe(impl_->instance, deadline_boot_ms, sink.abi()); });
  if (thrown.empty() && result == POSTBUS_OK) return {};
  return Status::Unavailable(impl_->name + ": " + ReasonOf(thrown, report));
}

uint32_t Transport::Submit(std::span<const postbus_mail* const> mails) {
  const auto offered = static_cast<uint32_t>(mails.size());
  uint32_t taken = 0;
  const bool returned =
      impl_->CallPlugin([&] { taken = impl_->table->submit(impl_->instance, mails.data(), offered); });
  if (!returned) {  // it may have taken any of them, and may be sending them
    const postbus_result lost = InDoubt("the transport plugin failed in submit");
    for (const postbus_mail* mail : mails) impl_->sink->Complete(mail->token, lost);
    return offered;
  }
  if (taken > offered) {
    impl_->LogOnce(impl_->took_too_many, "it says it took more mails than it was offered");
    return offered;
  }
  return taken;
}

void Transport::Cancel(std::span<const uint64_t> tokens) {
  impl_->CallPlugin(
      [&] { impl_->table->cancel(impl_->instance, tokens.data(), static_cast<uint32_t>(tokens.size())); });
}

void Transport::Quiesce(int64_t deadline_boot_ms) {
  impl_->CallPlugin([&] { impl_->table->quiesce(impl_->instance, deadline_boot_ms); });
}

uint32_t Transport::outstanding() const {
  uint32_t outstanding = 1;  // one that cannot say is never destroyed
  impl_->CallPlugin([&] { outstanding = impl_->table->outstanding(impl_->instance); });
  return outstanding;
}

}  // namespace postbus
