#include "host/renderer.h"

#include <algorithm>
#include <utility>

#include "event/clock.h"
#include "host/plugin_calls.h"

namespace postbus {
namespace {

// Far above what an event can carry: ends a template that multiplies itself before the memory ends.
constexpr size_t kMaxPart = size_t{16} << 20;

// Each write is one name.
class NamesSink {
 public:
  explicit NamesSink(std::vector<std::string>& names) : names_(names) {}
  const postbus_sink* abi() const { return &abi_; }

 private:
  static void Write(void* ctx, const char* data, size_t n) noexcept {
    if (ctx != nullptr && data != nullptr) static_cast<NamesSink*>(ctx)->names_.emplace_back(data, n);
  }

  std::vector<std::string>& names_;
  const postbus_sink abi_ = {.size = sizeof(postbus_sink), .reserved = 0, .ctx = this, .write = &Write};
};

RenderOutcome ToOutcome(int32_t result) {
  switch (result) {
    case POSTBUS_RENDER_OK:
      return RenderOutcome::kOk;
    case POSTBUS_RENDER_UNKNOWN_TEMPLATE:
      return RenderOutcome::kUnknownTemplate;
    case POSTBUS_RENDER_MISSING_VARIABLE:
      return RenderOutcome::kMissingVariable;
    case POSTBUS_RENDER_INVALID_DATA:
      return RenderOutcome::kInvalidData;
    default:
      return RenderOutcome::kFailed;
  }
}

}  // namespace

struct Renderer::Impl {
  std::shared_ptr<const PluginLibrary> library;
  QueueLog log;
  const postbus_renderer* table = nullptr;
  postbus_host host = {};
  postbus_instance* instance = nullptr;

  // What plugins call. `ctx` is the Impl. A renderer sends nothing: it gets no permission, and has nothing to complete.
  static void HostLog(void* ctx, int32_t level, postbus_str message) noexcept {
    if (ctx == nullptr) return;
    static_cast<Impl*>(ctx)->log(ToLogLevel(level), "renderer: " + OneLine(PluginText(message)));
  }
  static int64_t HostNowMs(void* /*ctx*/) noexcept { return BootTimeMs(); }
  static void HostPermitSend(void* /*ctx*/, const uint64_t* /*tokens*/, uint8_t* verdicts, uint32_t n) noexcept {
    if (verdicts != nullptr) std::fill_n(verdicts, n, static_cast<uint8_t>(POSTBUS_ABORT));
  }
  static void HostComplete(void* /*ctx*/, uint64_t /*token*/, const postbus_result* /*result*/) noexcept {}
  static void HostWritable(void* /*ctx*/) noexcept {}
  static const void* HostGet(void* /*ctx*/, postbus_str /*extension_id*/) noexcept { return nullptr; }
};

Renderer::Renderer() : impl_(std::make_unique<Impl>()) {}

Renderer::~Renderer() {
  if (impl_->instance == nullptr) return;
  const std::string thrown = CatchThrown([&] { impl_->table->destroy(impl_->instance); });
  if (!thrown.empty()) impl_->log(LogLevel::kError, "renderer: " + thrown);
}

Result<std::unique_ptr<Renderer>> Renderer::Create(std::shared_ptr<const PluginLibrary> library,
                                                   const PluginOptions& options, QueueLog log) {
  if (library->renderer() == nullptr) {
    return Status::Invalid("renderer: " + library->path().string() + " is a transport, not a renderer");
  }
  std::unique_ptr<Renderer> renderer(new Renderer());
  Impl& impl = *renderer->impl_;
  impl.library = std::move(library);
  impl.log = std::move(log);
  impl.table = impl.library->renderer();
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
  if (!problem.empty()) return Status::Invalid("renderer: " + problem);
  return renderer;
}

const PluginLibrary& Renderer::library() const { return *impl_->library; }

RenderOutcome Renderer::Render(std::string_view template_name, std::string_view data, RenderedMail& out) const {
  out.subject.clear();
  out.text.clear();
  out.html.clear();
  out.error.clear();
  const StringSink subject(out.subject, kMaxPart);
  const StringSink text(out.text, kMaxPart);
  const StringSink html(out.html, kMaxPart);
  const StringSink error(out.error, kMaxPluginText);
  const postbus_render_input input = {
      .size = sizeof(postbus_render_input), .reserved = 0, .name = AbiText(template_name), .data = AbiText(data)};
  const postbus_render_output output = {.size = sizeof(postbus_render_output),
                                        .reserved = 0,
                                        .subject = subject.abi(),
                                        .text = text.abi(),
                                        .html = html.abi(),
                                        .error = error.abi()};
  int32_t result = POSTBUS_RENDER_FAILED;
  const std::string thrown = CatchThrown([&] { result = impl_->table->render(impl_->instance, &input, &output); });
  if (!thrown.empty()) {
    impl_->log(LogLevel::kError, "renderer: " + thrown);
    out.error = thrown;
    return RenderOutcome::kFailed;
  }
  const RenderOutcome outcome = ToOutcome(result);
  if (outcome != RenderOutcome::kOk) {
    out.error = ReasonOf("", out.error);
  } else if (subject.overflowed() || text.overflowed() || html.overflowed()) {
    out.error = "a part of the rendered mail is larger than 16 MiB";
    return RenderOutcome::kFailed;
  }
  return outcome;
}

std::vector<std::string> Renderer::Templates() const {
  std::vector<std::string> names;
  const NamesSink sink(names);
  const std::string thrown = CatchThrown([&] { impl_->table->list(impl_->instance, sink.abi()); });
  if (!thrown.empty()) impl_->log(LogLevel::kError, "renderer: " + thrown);
  return names;
}

}  // namespace postbus
