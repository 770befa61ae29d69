#include "host/lane.h"

#include <gtest/gtest.h>

#include <memory>
#include <span>
#include <string>
#include <vector>

namespace postbus {
namespace {

constexpr size_t kWindow = 100;
constexpr int64_t kNowMs = 1'000'000;

class NoShards final : public TransportSink {
 public:
  void PermitSend(std::span<const uint64_t>, std::span<uint8_t>) override {}
  void Complete(uint64_t, const postbus_result&) override {}
  void Writable() override {}
};

// Generations of transports that are called so; the same name is the same instance.
class LanesTest : public testing::Test {
 protected:
  Generation Make(const std::vector<std::string>& names) {
    Config config;
    for (const std::string& name : names) {
      TransportConfig& transport = config.transports.emplace_back();
      transport.name = name;
      transport.plugin = POSTBUS_BUILD_DIR "/tests/plugins/scripted_transport.so";
    }
    config.routes.emplace_back().use = names;
    auto made = MakeGeneration(config, nullptr, last_.get(), shards_, [](LogLevel, std::string_view) {});
    EXPECT_TRUE(made.ok()) << made.status().message();
    last_ = *made;
    return *last_;
  }

  NoShards shards_;
  std::shared_ptr<const Generation> last_;
  Pauses pauses_;
  Metrics metrics_;
  Lanes lanes_{kWindow, pauses_, metrics_};
};

TEST_F(LanesTest, ATransportThatStaysKeepsItsLaneWithEmptyQueues) {
  lanes_.Use(Make({"a", "b"}));
  Lane* const b = &lanes_[1];
  b->ready.Push(1, Priority::kNormal);
  b->claimed.Push(2, Priority::kHigh);
  b->with_transport = 3;
  lanes_.Use(Make({"c", "b"}));
  EXPECT_EQ(lanes_[0].transport->name(), "c");
  ASSERT_EQ(&lanes_[1], b);
  EXPECT_TRUE(b->ready.empty());
  EXPECT_TRUE(b->claimed.empty());
  EXPECT_EQ(b->with_transport, 3u);
}

TEST_F(LanesTest, AFormerOneIsKeptUntilItHasAnswered) {
  const Generation first = Make({"a", "b"});  // keeps the transport, as a job would that is with it
  lanes_.Use(first);
  Lane* const a = &lanes_[0];
  a->with_transport = 1;
  lanes_.Use(Make({"b"}));
  EXPECT_EQ(lanes_[0].transport->name(), "b");
  lanes_.EndRetired();
  EXPECT_EQ(a->with_transport, 1u) << "a job points to it";
  a->with_transport = 0;
  lanes_.EndRetired();  // ASan says if a former lane leaks or is read
}

TEST_F(LanesTest, AloneATransportMayHaveTheWholeWindow) {
  const auto enter = [&](size_t n) {
    for (size_t i = 0; i < n; ++i) lanes_[0].share.Enter();
  };
  lanes_.Use(Make({"a"}));
  enter(kWindow);
  EXPECT_FALSE(lanes_.AnyIsUndecided());
  lanes_.Use(Make({"a", "b"}));
  EXPECT_TRUE(lanes_.AnyIsUndecided()) << "beside another it is three quarters";
}

TEST_F(LanesTest, WhatIsReadyForATransportThatTakesNoneDoesNotCountWhileThereAreOthers) {
  lanes_.Use(Make({"a", "b"}));
  for (uint32_t slot = 0; slot < 5; ++slot) lanes_[0].ready.Push(slot, Priority::kNormal);
  lanes_[1].ready.Push(9, Priority::kNormal);
  EXPECT_EQ(lanes_.ReadyAhead(kNowMs), 6u);
  lanes_[0].full = true;
  EXPECT_EQ(lanes_.ReadyAhead(kNowMs), 1u);
  lanes_[0].full = false;
  lanes_[0].owes_an_answer = true;
  EXPECT_EQ(lanes_.ReadyAhead(kNowMs), 1u);
}

}  // namespace
}  // namespace postbus
