#include "host/route.h"

#include <gtest/gtest.h>

#include <functional>
#include <map>

#include "host/glob.h"

namespace postbus {
namespace {

class RouterTest : public testing::Test {
 protected:
  RouterTest() {
    for (const char* name : {"a", "b", "c"}) config_.transports.emplace_back().name = name;
  }

  RouteConfig& Add(std::vector<std::string> use) {
    RouteConfig& route = config_.routes.emplace_back();
    route.use = std::move(use);
    return route;
  }

  static EmailEvent Event(const std::string& to = "ada@example.com") {
    EmailEvent event;
    event.template_name = "welcome";
    event.type = "signup";
    event.from.address = "noreply@shop.example";
    event.to.emplace_back().address = to;
    return event;
  }

  std::vector<uint32_t> Order(const EmailEvent& event) const {
    std::vector<uint32_t> order;
    route_ = Router(config_).Choose(event, order);
    return order;
  }

  using Transports = std::vector<uint32_t>;
  Config config_;
  mutable size_t route_ = 99;
};

TEST_F(RouterTest, TheFirstMatchWins) {
  Add({"a"}).match.templates = {"newsletter"};
  Add({"b", "a"}).match.templates = {"wel*"};
  Add({"a"}).match.templates = {"welcome"};
  Add({"c"});
  EXPECT_EQ(Order(Event()), (Transports{1, 0}));
  EXPECT_EQ(route_, 1u);
  EmailEvent other = Event();
  other.template_name = "receipt";
  EXPECT_EQ(Order(other), (Transports{2}));
  EXPECT_EQ(route_, 3u);
}

TEST_F(RouterTest, EachConditionMustHold) {
  RouteMatch& match = Add({"a"}).match;
  match.templates = {"x", "welcome"};
  match.types = {"sign*"};
  match.priorities = {"normal", "high"};
  match.recipient_domains = {"*.EXAMPLE", "example.com"};
  match.senders = {"*@Shop.example"};
  match.tags = {"vip*"};
  Add({"b"});
  const auto with = [&](const std::function<void(EmailEvent&)>& change) {
    EmailEvent event = Event();
    event.tags = {"eu", "vip-1"};
    change(event);
    return Order(event).front();
  };
  EXPECT_EQ(with([](EmailEvent&) {}), 0u);
  EXPECT_EQ(with([](EmailEvent& event) { event.to.front().address = "bob@Mail.Example"; }), 0u);
  EXPECT_EQ(with([](EmailEvent& event) { event.template_name = "welcome2"; }), 1u);
  EXPECT_EQ(with([](EmailEvent& event) { event.type = ""; }), 1u);
  EXPECT_EQ(with([](EmailEvent& event) { event.priority = Priority::kLow; }), 1u);
  EXPECT_EQ(with([](EmailEvent& event) { event.to.front().address = "ada@example.com.evil"; }), 1u);
  EXPECT_EQ(with([](EmailEvent& event) { event.from.address = "noreply@shop.example.evil"; }), 1u);
  EXPECT_EQ(with([](EmailEvent& event) { event.tags = {"eu"}; }), 1u);
  EXPECT_EQ(with([](EmailEvent& event) { event.tags.clear(); }), 1u);
}

TEST_F(RouterTest, OneRecipientElsewhereIsEnoughForADomainNotToMatch) {
  Add({"a"}).match.recipient_domains = {"example.com"};
  Add({"b"});
  for (auto list : {&EmailEvent::to, &EmailEvent::cc, &EmailEvent::bcc}) {
    EmailEvent event = Event();
    EXPECT_EQ(Order(event), Transports{0});
    (event.*list).emplace_back().address = "eve@other.example";
    EXPECT_EQ(Order(event), Transports{1});
  }
}

TEST_F(RouterTest, ASplitGivesEachItsShareAndTheOthersAsFailover) {
  Add({"a", "b", "c"}).weights = {70, 0, 30};
  std::map<uint32_t, int> first;
  for (int i = 0; i < 10'000; ++i) {
    const EmailEvent event = Event("user" + std::to_string(i) + "@example.com");
    const Transports order = Order(event);
    ASSERT_EQ(order.size(), 3u);
    ++first[order.front()];
    ASSERT_EQ(order, order.front() == 0 ? (Transports{0, 1, 2}) : (Transports{2, 0, 1}));
  }
  EXPECT_NEAR(first[0], 7'000, 200);
  EXPECT_NEAR(first[2], 3'000, 200);
}

TEST_F(RouterTest, ASplitIsStableForARecipientAndMovesNoMoreThanItMust) {
  Add({"a", "b"}).weights = {95, 5};
  const Router before(config_);
  config_.routes[0].weights = {90, 10};
  const Router after(config_);
  int moved = 0;
  for (int i = 0; i < 10'000; ++i) {
    const std::string address = "user" + std::to_string(i) + "@example.com";
    Transports one, again, later;
    before.Choose(Event(address), one);
    before.Choose(Event("U" + address.substr(1)), again);
    EXPECT_EQ(one, again);
    after.Choose(Event(address), later);
    EXPECT_TRUE(one.front() == 0 || later.front() == 1) << address;
    moved += one != later;
  }
  EXPECT_NEAR(moved, 500, 120);
}

TEST(GlobMatchesTest, AStarIsAnyRun) {
  struct {
    const char* pattern;
    const char* text;
    bool matches;
  } const cases[] = {
      {"", "", true},
      {"", "a", false},
      {"*", "", true},
      {"*", "abc", true},
      {"a*", "abc", true},
      {"a*", "bac", false},
      {"*c", "abc", true},
      {"*c", "abcd", false},
      {"a*c", "ac", true},
      {"a*c", "abbc", true},
      {"a*b*c", "aXbYbc", true},
      {"a*b*c", "aXcYb", false},
      {"**a", "bba", true},
      {"abc", "ab", false},
      {"ab", "abc", false},
      {"a*a*a*a*b", "aaaaaaaaaaaaaaaaaa", false},
  };
  for (const auto& [pattern, text, matches] : cases) {
    EXPECT_EQ(GlobMatches(pattern, text), matches) << pattern << " " << text;
  }
  EXPECT_FALSE(GlobMatches("A*", "abc"));
  EXPECT_TRUE(GlobMatches("A*", "abc", /*match_case=*/false));
}

}  // namespace
}  // namespace postbus
