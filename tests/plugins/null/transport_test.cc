#include "plugins/null/transport.h"

#include <gtest/gtest.h>

#include <memory>
#include <vector>

#include "postbus/testing/fake_host.hpp"

namespace postbus::null {
namespace {

using sdk::testing::FakeHost;
using sdk::testing::FakeMail;
using sdk::testing::FakeOptions;

class NullTransportTest : public testing::Test {
 protected:
  void Make(int64_t latency_ms) {
    const FakeOptions options(kOptions, {{"latency", latency_ms}});
    transport_ = std::make_unique<NullTransport>(host_.host(), options.options());
  }

  // All at once, numbered from 1.
  uint32_t Submit(size_t count) {
    std::vector<const postbus_mail*> offered;
    for (size_t i = 0; i < count; ++i) {
      mails_.push_back(std::make_unique<FakeMail>(i + 1));
      offered.push_back(&mails_.back()->view());
    }
    return transport_->Submit(offered);
  }

  FakeHost host_;
  std::vector<std::unique_ptr<FakeMail>> mails_;
  std::unique_ptr<NullTransport> transport_;
};

TEST_F(NullTransportTest, AnswersWithinSubmit) {
  Make(0);
  EXPECT_EQ(Submit(1000), 1000u);
  const auto completions = host_.completions();
  ASSERT_EQ(completions.size(), 1000u);
  for (size_t i = 0; i < completions.size(); ++i) {
    EXPECT_EQ(completions[i].token, i + 1);
    EXPECT_EQ(completions[i].outcome.outcome, POSTBUS_ACCEPTED);
  }
  EXPECT_EQ(transport_->Outstanding(), 0u);
}

TEST_F(NullTransportTest, AsksForPermission) {
  for (const int64_t latency_ms : {0, 1}) {
    FakeHost host;
    const FakeOptions options(kOptions, {{"latency", latency_ms}});
    NullTransport transport(host.host(), options.options());
    FakeMail first(1);
    FakeMail second(2);
    host.Abort(1);
    const postbus_mail* const offered[] = {&first.view(), &second.view()};
    EXPECT_EQ(transport.Submit(offered), 2u);
    ASSERT_TRUE(host.WaitForCompletions(2));
    EXPECT_EQ(host.completions()[0].outcome.outcome, POSTBUS_NOT_SENT);
    EXPECT_EQ(host.completions()[1].outcome.outcome, POSTBUS_ACCEPTED);
    while (transport.Outstanding() != 0) std::this_thread::yield();
  }
}

TEST_F(NullTransportTest, AnswersWhenTheLatencyHasPassed) {
  constexpr int64_t kLatencyMs = 100;
  Make(kLatencyMs);
  const int64_t begin_ms = host_.NowMs();
  Submit(3);
  ASSERT_TRUE(host_.WaitForCompletions(3));
  EXPECT_GE(host_.NowMs() - begin_ms, kLatencyMs);
  while (transport_->Outstanding() != 0) std::this_thread::yield();
  for (size_t i = 0; i < 3; ++i) EXPECT_EQ(host_.completions()[i].token, i + 1);
}

TEST_F(NullTransportTest, AnswersAtTheDeadlineOfAStop) {
  Make(600'000);
  Submit(2);
  const uint64_t tokens[] = {1, 2};
  transport_->Cancel(tokens);
  EXPECT_EQ(transport_->Outstanding(), 2u) << "they are past their point of no return";
  transport_->Quiesce(host_.NowMs() - 1);
  ASSERT_TRUE(host_.WaitForCompletions(2));
  while (transport_->Outstanding() != 0) std::this_thread::yield();
}

}  // namespace
}  // namespace postbus::null
