#include "host/route.h"

#include <algorithm>

#include "event/text.h"
#include "host/glob.h"

namespace postbus {
namespace {

constexpr bool kAnyCase = false;

bool AnyMatches(const std::vector<std::string>& patterns, std::string_view text, bool match_case = true) {
  return patterns.empty() || std::any_of(patterns.begin(), patterns.end(), [&](const std::string& pattern) {
           return GlobMatches(pattern, text, match_case);
         });
}

// All recipients: a mail to a colleague and a customer is not an internal one.
bool AllInDomain(const std::vector<std::string>& domains, const EmailEvent& event) {
  for (size_t i = 0; i < event.recipient_count(); ++i) {
    if (!AnyMatches(domains, event.recipient(i).domain(), kAnyCase)) return false;
  }
  return true;
}

bool Matches(const RouteMatch& match, const EmailEvent& event) {
  const auto tagged = [&](const std::string& tag) { return AnyMatches(match.tags, tag); };
  return AnyMatches(match.templates, event.template_name) && AnyMatches(match.types, event.type) &&
         AnyMatches(match.priorities, PriorityName(event.priority)) &&
         AnyMatches(match.senders, event.from.address, kAnyCase) &&
         (match.tags.empty() || std::any_of(event.tags.begin(), event.tags.end(), tagged)) &&
         (match.recipient_domains.empty() || AllInDomain(match.recipient_domains, event));
}

// A number from 0 to `size` - 1 that hangs on the address alone, case aside.
uint64_t Spread(std::string_view address, uint64_t size) {
  uint64_t hash = 14695981039346656037u;  // FNV-1a
  for (const char c : address) hash = (hash ^ static_cast<unsigned char>(ToLower(c))) * 1099511628211u;
  hash = (hash ^ hash >> 32) * 0x9E3779B97F4A7C15u;  // its low bits alone are not even enough
  return (hash >> 32) % size;
}

}  // namespace

std::string ConditionText(const RouteMatch& match) {
  std::vector<std::string> conditions;
  const auto add = [&conditions](const char* what, const std::vector<std::string>& patterns) {
    if (!patterns.empty()) conditions.push_back(std::string(what) + " is " + Joined(patterns, " or "));
  };
  add("template", match.templates);
  add("type", match.types);
  add("priority", match.priorities);
  add("recipient_domain", match.recipient_domains);
  add("sender", match.senders);
  add("tag", match.tags);
  return Joined(conditions, " and ");
}

Router::Router(const Config& config) {
  for (const RouteConfig& route : config.routes) {
    Route& result = routes_.emplace_back();
    result.match = route.match;
    for (const std::string& name : route.use) {
      const auto found = std::find_if(config.transports.begin(), config.transports.end(),
                                      [&](const TransportConfig& transport) { return transport.name == name; });
      result.transports.push_back(static_cast<uint32_t>(found - config.transports.begin()));
    }
    result.weights = route.weights;
    for (const uint32_t weight : route.weights) result.total_weight += weight;
  }
}

size_t Router::Choose(const EmailEvent& event, std::vector<uint32_t>& order) const {
  size_t index = 0;
  while (index + 1 < routes_.size() && !Matches(routes_[index].match, event)) ++index;
  const Route& route = routes_[index];
  order.assign(route.transports.begin(), route.transports.end());
  if (route.total_weight == 0) return index;
  uint64_t point = Spread(event.recipient(0).address, route.total_weight);
  size_t first = 0;
  while (point >= route.weights[first]) point -= route.weights[first++];
  std::rotate(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(first),
              order.begin() + static_cast<std::ptrdiff_t>(first) + 1);
  return index;
}

}  // namespace postbus
