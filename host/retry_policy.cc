#include "host/retry_policy.h"

#include <algorithm>

#include "postbus/abi/outcome.h"

namespace postbus {
namespace {

int64_t Doubling(int64_t first_ms, int64_t longest_ms, int times) {
  return times >= 20 ? longest_ms : std::min(longest_ms, first_ms << times);
}

Decision DeadLetterFor(std::string_view reason) {
  return {.action = Decision::Action::kDeadLetter, .delay_ms = 0, .costs_attempt = false, .reason = reason};
}

int64_t Jitter(int64_t delay_ms, uint64_t spread) {
  const auto most = static_cast<uint64_t>(std::min(delay_ms / 10, kMaxJitterMs));
  return static_cast<int64_t>(spread % (most + 1));
}

// What is neither accepted nor refused for good.
Decision DecideOnNextTry(const RetryConfig& config, const AttemptFacts& facts) {
  const std::string_view reason = OutcomeName(facts.outcome);
  if (facts.age_ms >= config.max_age_ms) return DeadLetterFor("max_age");

  const auto asked_ms = static_cast<int64_t>(std::min<uint64_t>(facts.retry_after_ms, uint64_t(config.max_age_ms)));
  switch (facts.outcome) {
    case POSTBUS_THROTTLED: {
      const int64_t delay_ms = std::max<int64_t>(asked_ms, Doubling(1'000, kLongestWaitMs, facts.waits));
      const auto action = delay_ms > kLongestWaitMs ? Decision::Action::kDefer : Decision::Action::kWait;
      return {.action = action, .delay_ms = delay_ms, .costs_attempt = false, .reason = reason};
    }
    case POSTBUS_NOT_SENT:
      return {.action = Decision::Action::kWait,
              .delay_ms = Doubling(100, 5'000, facts.waits),
              .costs_attempt = false,
              .reason = reason};
    case POSTBUS_PROVIDER_FAULT:
      return {.action = Decision::Action::kWait,
              .delay_ms = std::max(std::min(asked_ms, kLongestWaitMs), Doubling(1'000, kLongestWaitMs, facts.waits)),
              .costs_attempt = false,
              .reason = reason};
    default: {  // TRANSIENT, IN_DOUBT: the server judged this mail
      if (facts.attempts_spent >= facts.max_retries) return DeadLetterFor("attempts_exhausted");
      const size_t step = std::min(static_cast<size_t>(facts.attempts_spent), config.backoff_ms.size() - 1);
      return {.action = Decision::Action::kDefer,
              .delay_ms = std::max(config.backoff_ms[step], asked_ms),
              .costs_attempt = true,
              .reason = reason};
    }
  }
}

}  // namespace

Decision Decide(const RetryConfig& config, const AttemptFacts& facts) {
  switch (facts.outcome) {
    case POSTBUS_ACCEPTED:
      return {};
    case POSTBUS_REJECTED_RECIPIENT:
    case POSTBUS_REJECTED_MESSAGE:
    case POSTBUS_UNSUPPORTED:
      return DeadLetterFor(OutcomeName(facts.outcome));
    case POSTBUS_IN_DOUBT:
      if (config.in_doubt == WhenInDoubt::kDeadLetter) return DeadLetterFor(OutcomeName(facts.outcome));
      break;
    default:
      break;
  }
  if (facts.cancelled) return {.action = Decision::Action::kCancel, .reason = "cancelled"};
  Decision decision = DecideOnNextTry(config, facts);
  if (decision.action == Decision::Action::kDeadLetter) return decision;
  if (decision.action == Decision::Action::kDefer) decision.delay_ms += Jitter(decision.delay_ms, facts.spread);
  if (decision.delay_ms >= facts.expires_in_ms) return {.action = Decision::Action::kExpire, .reason = "expired"};
  return decision;
}

std::string_view OutcomeName(int32_t outcome) {
  switch (outcome) {
    case POSTBUS_ACCEPTED:
      return "accepted";
    case POSTBUS_TRANSIENT:
      return "transient";
    case POSTBUS_THROTTLED:
      return "throttled";
    case POSTBUS_REJECTED_RECIPIENT:
      return "rejected_recipient";
    case POSTBUS_REJECTED_MESSAGE:
      return "rejected_message";
    case POSTBUS_UNSUPPORTED:
      return "unsupported";
    case POSTBUS_PROVIDER_FAULT:
      return "provider_fault";
    case POSTBUS_NOT_SENT:
      return "not_sent";
    case POSTBUS_IN_DOUBT:
      return "in_doubt";
    default:
      return "unknown";
  }
}

}  // namespace postbus
