// No exception crosses the ABI: what an SDK plugin throws, std or not, becomes a value that fails closed, and a log
// line.
#include "postbus/barrier.hpp"

#include <gtest/gtest.h>

#include <stdexcept>

#include "postbus/renderer.hpp"
#include "postbus/testing/fake_host.hpp"
#include "postbus/transport.hpp"

namespace postbus::sdk {
namespace {

using testing::FakeHost;
using testing::FakeMail;
using testing::FakeOptions;

constexpr About kAbout{.id = "thrower", .version = "1.0.0", .summary = "Throws."};
constexpr std::array kOptions = {IntegerOption("what", "1: a std::exception; 2: something else.")};

// What the plugin under test throws now, in the function named. One test at a time.
std::string throw_in;
bool throw_std = true;

void MaybeThrow(std::string_view function) {
  if (function != throw_in) return;
  if (throw_std) throw std::runtime_error("the disk is on fire");
  throw 42;
}

class ThrowingTransport : public Transport {
 public:
  ThrowingTransport(Host, const Options&) { MaybeThrow("create"); }
  bool Probe(int64_t, std::string& report) override {
    MaybeThrow("probe");
    report = "the greeting never came";
    return false;
  }
  uint32_t Submit(std::span<const postbus_mail* const>) override {
    MaybeThrow("submit");
    return 0;
  }
  void Cancel(std::span<const uint64_t>) override { MaybeThrow("cancel"); }
  void Quiesce(int64_t) override { MaybeThrow("quiesce"); }
  uint32_t Outstanding() const override {
    MaybeThrow("outstanding");
    return 0;
  }
};

class ThrowingRenderer : public Renderer {
 public:
  ThrowingRenderer(Host, const Options&) { MaybeThrow("create"); }
  int32_t Render(std::string_view, std::string_view, const RenderOutput&) const override {
    MaybeThrow("render");
    return POSTBUS_RENDER_OK;
  }
  std::vector<std::string> List() const override {
    MaybeThrow("list");
    return {"a", "b"};
  }
};

class TextSink {
 public:
  const postbus_sink* abi() const { return &abi_; }
  std::string text;

 private:
  static void Write(void* ctx, const char* data, size_t n) { static_cast<TextSink*>(ctx)->text.append(data, n); }
  postbus_sink abi_ = {.size = sizeof(postbus_sink), .reserved = 0, .ctx = this, .write = &Write};
};

// With true: throws a std::exception; with false: an int.
class BarrierTest : public ::testing::TestWithParam<bool> {
 protected:
  void SetUp() override {
    throw_std = GetParam();
    throw_in.clear();
    transport_ = static_cast<const postbus_transport*>(
        TransportTable<ThrowingTransport, kAbout, kOptions>::Get(Str(POSTBUS_TRANSPORT_ID)));
    renderer_ = static_cast<const postbus_renderer*>(
        RendererTable<ThrowingRenderer, kAbout, kOptions>::Get(Str(POSTBUS_RENDERER_ID)));
  }
  void TearDown() override {
    if (instance_ != nullptr) transport_->destroy(instance_);
    if (renderer_instance_ != nullptr) renderer_->destroy(renderer_instance_);
  }

  std::string Thrown() const {
    return GetParam() ? "the disk is on fire" : "something that is no std::exception was thrown";
  }
  void MakeTransport() {
    ASSERT_EQ(transport_->create(host_.abi(), &options_.abi(), &instance_, error_.abi()), POSTBUS_OK);
  }
  void MakeRenderer() {
    ASSERT_EQ(renderer_->create(host_.abi(), &options_.abi(), &renderer_instance_, error_.abi()), POSTBUS_OK);
  }

  FakeHost host_;
  FakeOptions options_{kOptions, {}};
  TextSink error_;
  const postbus_transport* transport_ = nullptr;
  const postbus_renderer* renderer_ = nullptr;
  postbus_instance* instance_ = nullptr;
  postbus_instance* renderer_instance_ = nullptr;
};

INSTANTIATE_TEST_SUITE_P(StdAndOther, BarrierTest, ::testing::Bool(),
                         [](const auto& test) { return test.param ? "StdException" : "Int"; });

TEST_P(BarrierTest, Create) {
  throw_in = "create";
  EXPECT_EQ(transport_->create(host_.abi(), &options_.abi(), &instance_, error_.abi()), POSTBUS_ERROR);
  EXPECT_EQ(error_.text, Thrown());
  EXPECT_EQ(instance_, nullptr);
  error_.text.clear();
  EXPECT_EQ(renderer_->create(host_.abi(), &options_.abi(), &renderer_instance_, error_.abi()), POSTBUS_ERROR);
  EXPECT_EQ(error_.text, Thrown());
  EXPECT_EQ(renderer_instance_, nullptr);
}

TEST_P(BarrierTest, Probe) {
  MakeTransport();
  EXPECT_EQ(transport_->probe(instance_, 0, error_.abi()), POSTBUS_ERROR);
  EXPECT_EQ(error_.text, "the greeting never came");
  error_.text.clear();
  throw_in = "probe";
  EXPECT_EQ(transport_->probe(instance_, 0, error_.abi()), POSTBUS_ERROR);
  EXPECT_EQ(error_.text, Thrown());
}

TEST_P(BarrierTest, SubmitCompletesWhatWasOffered) {
  MakeTransport();
  throw_in = "submit";
  FakeMail first(1);
  FakeMail second(2);
  const postbus_mail* const mails[] = {&first.view(), &second.view()};
  EXPECT_EQ(transport_->submit(instance_, mails, 2), 2u);
  ASSERT_EQ(host_.completions().size(), 2u);
  for (const uint64_t token : {1u, 2u}) {
    ASSERT_EQ(host_.completions(token).size(), 1u);
    EXPECT_EQ(host_.completions(token)[0].outcome.outcome, POSTBUS_PROVIDER_FAULT);
    EXPECT_EQ(host_.completions(token)[0].outcome.text, "the transport plugin failed: " + Thrown());
  }
  EXPECT_EQ(host_.logs(), std::vector<std::string>{"submit threw: " + Thrown()});
}

TEST_P(BarrierTest, CancelAndQuiesceAreLogged) {
  MakeTransport();
  throw_in = "cancel";
  const uint64_t token = 1;
  transport_->cancel(instance_, &token, 1);
  throw_in = "quiesce";
  transport_->quiesce(instance_, 0);
  EXPECT_EQ(host_.logs(), (std::vector<std::string>{"cancel threw: " + Thrown(), "quiesce threw: " + Thrown()}));
}

TEST_P(BarrierTest, OutstandingNeverSaysZero) {
  MakeTransport();
  EXPECT_EQ(transport_->outstanding(instance_), 0u);
  throw_in = "outstanding";
  EXPECT_EQ(transport_->outstanding(instance_), 1u);
  EXPECT_EQ(host_.logs(), std::vector<std::string>{"outstanding threw: " + Thrown()});
}

TEST_P(BarrierTest, RenderAndList) {
  MakeRenderer();
  throw_in = "render";
  TextSink out;
  const postbus_render_input input = {sizeof input, 0, Str("a"), Str("{}")};
  const postbus_render_output output = {sizeof output, 0, out.abi(), out.abi(), out.abi(), error_.abi()};
  EXPECT_EQ(renderer_->render(renderer_instance_, &input, &output), POSTBUS_RENDER_FAILED);
  EXPECT_EQ(error_.text, Thrown());
  throw_in = "list";
  renderer_->list(renderer_instance_, out.abi());
  EXPECT_EQ(out.text, "");
  EXPECT_EQ(host_.logs(), (std::vector<std::string>{"render threw: " + Thrown(), "list threw: " + Thrown()}));
}

TEST_P(BarrierTest, UnknownExtension) {
  EXPECT_EQ((TransportTable<ThrowingTransport, kAbout, kOptions>::Get(Str("postbus.transport/1x"))), nullptr);
  EXPECT_EQ((RendererTable<ThrowingRenderer, kAbout, kOptions>::Get(Str(""))), nullptr);
}

}  // namespace
}  // namespace postbus::sdk
