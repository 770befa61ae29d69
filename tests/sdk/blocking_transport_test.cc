#include "postbus/blocking_transport.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <functional>
#include <latch>
#include <memory>
#include <semaphore>
#include <stdexcept>

#include "postbus/testing/fake_host.hpp"

namespace postbus::sdk {
namespace {

using testing::Completion;
using testing::FakeHost;
using testing::FakeMail;
using namespace std::chrono_literals;

// Does what the test says; by default accepts.
class ScriptedTransport : public BlockingTransport {
 public:
  ScriptedTransport(Host host, int64_t threads) : BlockingTransport(host, threads) {}

  std::optional<Outcome> Prepare(const postbus_mail& mail) override { return prepare(mail); }
  Outcome Send(const postbus_mail& mail) override { return send(mail); }

  // Set before the first Submit.
  std::function<std::optional<Outcome>(const postbus_mail&)> prepare = [](const postbus_mail&) { return std::nullopt; };
  std::function<Outcome(const postbus_mail&)> send = [](const postbus_mail&) { return Outcome::Accepted("id"); };
};

// A gate a mail waits at, so that the test can act while it is there.
class Gate {
 public:
  void Pass() {
    arrived_.release();
    open_.acquire();
    open_.release();  // stays open
  }
  bool WaitForArrival() { return arrived_.try_acquire_for(20s); }
  void Open() { open_.release(); }

 private:
  std::counting_semaphore<> arrived_{0};
  std::counting_semaphore<> open_{0};
};

class BlockingTransportTest : public ::testing::Test {
 protected:
  void Make(int64_t threads) { transport_ = std::make_unique<ScriptedTransport>(host_.host(), threads); }
  const postbus_mail* Mail(uint64_t token) { return &mails_.emplace_back(std::make_unique<FakeMail>(token))->view(); }
  uint32_t Submit(const std::vector<const postbus_mail*>& mails) { return transport_->Submit(mails); }
  void Cancel(std::vector<uint64_t> tokens) { transport_->Cancel(tokens); }

  // The one outcome of a mail.
  Outcome OutcomeOf(uint64_t token) {
    const std::vector<Completion> completions = host_.completions(token);
    EXPECT_EQ(completions.size(), 1u) << "token " << token;
    return completions.empty() ? Outcome() : completions[0].outcome;
  }
  // As the host does before destroy.
  void WaitUntilIdle() {
    const auto limit = std::chrono::steady_clock::now() + 20s;
    while (transport_->Outstanding() != 0) {
      ASSERT_LT(std::chrono::steady_clock::now(), limit);
      std::this_thread::yield();
    }
  }

  FakeHost host_;
  std::vector<std::unique_ptr<FakeMail>> mails_;
  std::unique_ptr<ScriptedTransport> transport_;
};

TEST_F(BlockingTransportTest, SendIsPermittedFirst) {
  Make(1);
  size_t asked_before_send = 0;
  transport_->send = [&](const postbus_mail&) {
    asked_before_send = host_.asked().size();
    return Outcome::Accepted("4F2");
  };
  EXPECT_EQ(Submit({Mail(7)}), 1u);
  ASSERT_TRUE(host_.WaitForCompletions(1));
  EXPECT_EQ(OutcomeOf(7).outcome, POSTBUS_ACCEPTED);
  EXPECT_EQ(OutcomeOf(7).provider_id, "4F2");
  EXPECT_EQ(asked_before_send, 1u);
  WaitUntilIdle();
}

TEST_F(BlockingTransportTest, AbortMeansNotSent) {
  Make(1);
  std::atomic<int> prepared = 0;
  std::atomic<int> sent = 0;
  transport_->prepare = [&](const postbus_mail&) {
    ++prepared;
    return std::nullopt;
  };
  transport_->send = [&](const postbus_mail&) {
    ++sent;
    return Outcome::Accepted("");
  };
  host_.Abort(1);
  Submit({Mail(1)});
  ASSERT_TRUE(host_.WaitForCompletions(1));
  EXPECT_EQ(OutcomeOf(1).outcome, POSTBUS_NOT_SENT);
  EXPECT_EQ(OutcomeOf(1).text, "the host did not permit it");
  EXPECT_EQ(prepared, 1);
  EXPECT_EQ(sent, 0);
  WaitUntilIdle();
}

TEST_F(BlockingTransportTest, PrepareMayEndTheAttempt) {
  Make(1);
  transport_->prepare = [](const postbus_mail&) { return Outcome::ProviderFault("no route"); };
  Submit({Mail(1)});
  ASSERT_TRUE(host_.WaitForCompletions(1));
  EXPECT_EQ(OutcomeOf(1).outcome, POSTBUS_PROVIDER_FAULT);
  EXPECT_TRUE(host_.asked().empty()) << "no permission was needed";
  WaitUntilIdle();
}

TEST_F(BlockingTransportTest, ThrowingPrepareAndSend) {
  Make(1);
  transport_->prepare = [](const postbus_mail& mail) -> std::optional<Outcome> {
    if (mail.token == 1) throw std::runtime_error("no socket");
    return std::nullopt;
  };
  transport_->send = [](const postbus_mail& mail) -> Outcome {
    if (mail.token == 2) throw 42;
    return Outcome::Accepted("");
  };
  for (const uint64_t token : {1, 2, 3}) {
    EXPECT_EQ(Submit({Mail(token)}), 1u);
    ASSERT_TRUE(host_.WaitForCompletions(token));
  }
  EXPECT_EQ(OutcomeOf(1).outcome, POSTBUS_PROVIDER_FAULT);
  EXPECT_EQ(OutcomeOf(1).text, "the transport plugin failed: no socket");
  EXPECT_EQ(OutcomeOf(2).outcome, POSTBUS_IN_DOUBT) << "it threw past the point of no return";
  EXPECT_EQ(OutcomeOf(3).outcome, POSTBUS_ACCEPTED) << "the thread goes on";
  EXPECT_EQ(host_.logs(), (std::vector<std::string>{"prepare threw: no socket",
                                                    "send threw: something that is no std::exception was thrown"}));
  WaitUntilIdle();
}

TEST_F(BlockingTransportTest, QueueIsBoundedAndWritableFollows) {
  Make(2);
  Gate gate;
  transport_->send = [&](const postbus_mail&) {
    gate.Pass();
    return Outcome::Accepted("");
  };
  EXPECT_EQ(Submit({Mail(1), Mail(2)}), 2u);
  ASSERT_TRUE(gate.WaitForArrival());
  ASSERT_TRUE(gate.WaitForArrival());
  EXPECT_EQ(Submit({Mail(3), Mail(4), Mail(5)}), 2u) << "two are being sent, two may wait";
  EXPECT_EQ(Submit({Mail(6)}), 0u);
  EXPECT_EQ(transport_->Outstanding(), 4u);
  EXPECT_EQ(host_.writable_calls(), 0u);
  gate.Open();
  EXPECT_TRUE(host_.WaitForWritable());
  EXPECT_TRUE(host_.WaitForCompletions(4));
  WaitUntilIdle();
  EXPECT_EQ(host_.writable_calls(), 1u);
  EXPECT_TRUE(host_.completions(5).empty());
}

TEST_F(BlockingTransportTest, CancelTakesBackWhatIsQueued) {
  Make(1);
  Gate gate;
  transport_->send = [&](const postbus_mail&) {
    gate.Pass();
    return Outcome::Accepted("");
  };
  EXPECT_EQ(Submit({Mail(1)}), 1u);
  ASSERT_TRUE(gate.WaitForArrival());
  EXPECT_EQ(Submit({Mail(2), Mail(3)}), 1u);
  Cancel({2, 1, 999});
  EXPECT_EQ(OutcomeOf(2).outcome, POSTBUS_NOT_SENT);
  EXPECT_TRUE(host_.completions(1).empty()) << "past its point of no return it goes on";
  EXPECT_EQ(host_.writable_calls(), 1u) << "there is room again, and nobody else would say so";
  EXPECT_EQ(Submit({Mail(4)}), 1u);
  gate.Open();
  ASSERT_TRUE(host_.WaitForCompletions(3));
  EXPECT_EQ(OutcomeOf(1).outcome, POSTBUS_ACCEPTED);
  EXPECT_EQ(OutcomeOf(4).outcome, POSTBUS_ACCEPTED);
  WaitUntilIdle();
}

TEST_F(BlockingTransportTest, CancelDuringPrepare) {
  Make(1);
  Gate gate;
  transport_->prepare = [&](const postbus_mail&) {
    gate.Pass();
    return std::nullopt;
  };
  Submit({Mail(1)});
  ASSERT_TRUE(gate.WaitForArrival());
  Cancel({1});
  EXPECT_TRUE(host_.completions(1).empty());
  gate.Open();
  ASSERT_TRUE(host_.WaitForCompletions(1));
  EXPECT_EQ(OutcomeOf(1).outcome, POSTBUS_NOT_SENT);
  EXPECT_TRUE(host_.asked().empty());
  WaitUntilIdle();
}

TEST_F(BlockingTransportTest, DeadlineBeforeAndAfterPrepare) {
  Make(1);
  transport_->prepare = [&](const postbus_mail& mail) {
    if (mail.token == 2) host_.Advance(10s);
    return std::nullopt;
  };
  mails_.push_back(std::make_unique<FakeMail>(1));
  mails_.back()->deadline_ms = host_.NowMs() - 1;
  Submit({&mails_.back()->view()});
  ASSERT_TRUE(host_.WaitForCompletions(1));
  EXPECT_EQ(OutcomeOf(1).outcome, POSTBUS_NOT_SENT);
  EXPECT_EQ(OutcomeOf(1).text, "its deadline passed in the transport's queue");
  mails_.push_back(std::make_unique<FakeMail>(2));
  mails_.back()->deadline_ms = host_.NowMs() + 5000;
  Submit({&mails_.back()->view()});
  ASSERT_TRUE(host_.WaitForCompletions(2));
  EXPECT_EQ(OutcomeOf(2).outcome, POSTBUS_NOT_SENT);
  EXPECT_EQ(OutcomeOf(2).text, "its deadline passed before the point of no return");
  EXPECT_TRUE(host_.asked().empty());
  WaitUntilIdle();
}

TEST_F(BlockingTransportTest, QuiesceFinishesWhatWasTaken) {
  Make(1);
  Gate gate;
  transport_->send = [&](const postbus_mail&) {
    gate.Pass();
    return Outcome::Accepted("");
  };
  Submit({Mail(1)});
  ASSERT_TRUE(gate.WaitForArrival());
  EXPECT_EQ(Submit({Mail(2)}), 1u);
  transport_->Quiesce(host_.NowMs() + 3'600'000);
  gate.Open();
  ASSERT_TRUE(host_.WaitForCompletions(2));
  EXPECT_EQ(OutcomeOf(1).outcome, POSTBUS_ACCEPTED);
  EXPECT_EQ(OutcomeOf(2).outcome, POSTBUS_ACCEPTED);
  WaitUntilIdle();
}

TEST_F(BlockingTransportTest, QuiesceTakesBackTheQueueAtItsDeadline) {
  Make(1);
  Gate gate;
  transport_->send = [&](const postbus_mail&) {
    gate.Pass();
    return Outcome::Accepted("");
  };
  Submit({Mail(1)});
  ASSERT_TRUE(gate.WaitForArrival());
  EXPECT_EQ(Submit({Mail(2)}), 1u);
  transport_->Quiesce(host_.NowMs() + 20);
  ASSERT_TRUE(host_.WaitForCompletions(1)) << "even while the only thread is busy";
  EXPECT_EQ(OutcomeOf(2).outcome, POSTBUS_NOT_SENT);
  EXPECT_EQ(OutcomeOf(2).text, "the transport is being closed");
  gate.Open();
  ASSERT_TRUE(host_.WaitForCompletions(2));
  EXPECT_EQ(OutcomeOf(1).outcome, POSTBUS_ACCEPTED) << "its Send had begun";
  WaitUntilIdle();
}

// Many threads submit and cancel at once; each mail taken is completed exactly once. Worth its name under TSan.
TEST_F(BlockingTransportTest, ExactlyOnceUnderLoad) {
  constexpr uint64_t kSubmitters = 4;
  constexpr uint64_t kMailsEach = 500;
  Make(4);
  std::atomic<uint64_t> sent = 0;
  transport_->send = [&](const postbus_mail& mail) {
    ++sent;
    return mail.token % 7 == 0 ? Outcome::Transient("busy") : Outcome::Accepted("");
  };
  std::vector<const postbus_mail*> mails;
  for (uint64_t token = 1; token <= kSubmitters * kMailsEach; ++token) {
    mails.push_back(Mail(token));
    if (token % 11 == 0) host_.Abort(token);
  }
  std::vector<std::thread> submitters;
  for (uint64_t s = 0; s < kSubmitters; ++s) {
    submitters.emplace_back([&, s] {
      std::span<const postbus_mail* const> rest(mails.data() + s * kMailsEach, kMailsEach);
      while (!rest.empty()) {
        const uint32_t taken = transport_->Submit(rest.first(std::min<size_t>(rest.size(), 3)));
        if (taken == 0) std::this_thread::yield();
        if (taken > 0 && rest[0]->token % 5 == 0) Cancel({rest[0]->token});
        rest = rest.subspan(taken);
      }
    });
  }
  for (std::thread& submitter : submitters) submitter.join();
  ASSERT_TRUE(host_.WaitForCompletions(mails.size()));
  WaitUntilIdle();

  std::vector<int> completed(mails.size() + 1);
  uint64_t past_the_point = 0;
  for (const Completion& completion : host_.completions()) {
    ++completed[completion.token];
    if (completion.outcome.outcome != POSTBUS_NOT_SENT) ++past_the_point;
    if (completion.token % 11 == 0) {
      EXPECT_EQ(completion.outcome.outcome, POSTBUS_NOT_SENT) << "aborted, token " << completion.token;
    }
  }
  for (uint64_t token = 1; token <= mails.size(); ++token) EXPECT_EQ(completed[token], 1) << "token " << token;
  EXPECT_EQ(past_the_point, sent) << "what was taken back was not sent, what was sent was not taken back";
}

TEST_F(BlockingTransportTest, DestroyedWithoutAMail) {
  Make(8);
  transport_->Quiesce(host_.NowMs() + 3'600'000);
  EXPECT_EQ(transport_->Outstanding(), 0u);
  transport_.reset();
}

}  // namespace
}  // namespace postbus::sdk
