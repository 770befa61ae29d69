#include "plugins/smtp/reply_rules.h"

#include <algorithm>
#include <charconv>
#include <stdexcept>

#include "postbus/abi/outcome.h"
#include "postbus/ascii.hpp"

namespace postbus::smtp {
namespace {

struct Fixed {
  std::string_view pattern;
  uint64_t retry_after_ms;
};

// Mailtrap's limits of connections (10 an account) and, in its sandbox, of mails a second read like refusals for good.
constexpr Fixed kMailtrap[] = {
    {"535 5.7.8 Too many connections", 0},
    {"550 5.7.0 *too many emails per second", 1000},
};

// THROTTLED is what says itself that mails come too fast. 450 and 451 with 4.7.1 alone say greylisting here and rate
// limit there: TRANSIENT defers either.
constexpr Fixed kEveryServer[] = {
    {"4?? 4.7.28", 0},                // X.7.28 "mail flood detected" (IANA's registry of enhanced codes)
    {"4?? 4.7.? *too many ", 0},      // Postfix: connections, recipients, TLS sessions, AUTH commands from a client
    {"4?? 4.7.? *too much mail", 0},  // Postfix: messages from a client
    {"4?? 4.7.? *rate limit", 0},     // Gmail and others
    {"454 Throttling failure", 0},    // Amazon SES: sending rate, daily quota
    {"454 4.7.? Throttling failure", 0},
    {"432 4.3.2 *limit exceeded", 0},  // Exchange Online: connections, submission threads
};

// Does `text` begin with what `pattern` says?
bool Matches(std::string_view pattern, std::string_view text) {
  size_t p = 0;
  size_t t = 0;
  size_t star = std::string_view::npos;  // the last `*` seen, and how far it reaches
  size_t reach = 0;
  while (p < pattern.size()) {
    if (pattern[p] == '*') {
      star = p++;
      reach = t;
    } else if (t < text.size() && (pattern[p] == '?' || sdk::Lower(pattern[p]) == sdk::Lower(text[t]))) {
      ++p;
      ++t;
    } else if (star != std::string_view::npos && reach < text.size()) {
      p = star + 1;
      t = ++reach;
    } else {
      return false;
    }
  }
  return true;
}

std::string_view Trim(std::string_view text) {
  while (text.starts_with(' ')) text.remove_prefix(1);
  while (text.ends_with(' ')) text.remove_suffix(1);
  return text;
}

[[noreturn]] void Fail(std::string_view rule, std::string_view why) {
  throw std::runtime_error("reply_rules: \"" + std::string(rule.substr(0, 64)) + "\" " + std::string(why) +
                           "; a rule is like \"451 4.7.1 *slow down -> throttled 30s\"");
}

uint64_t Milliseconds(std::string_view rule, std::string_view text) {
  uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  const std::string_view unit = text.substr(static_cast<size_t>(end - text.data()));
  const uint64_t factor = unit == "ms" ? 1 : unit == "s" ? 1000 : unit == "m" ? 60'000 : unit == "h" ? 3'600'000 : 0;
  if (error != std::errc() || factor == 0 || number > 1'000'000)
    Fail(rule, "has no duration like 30s behind its outcome");
  return number * factor;
}

std::string Line(const Reply& reply) {
  std::string line = std::to_string(reply.code);
  if (reply.enhanced[0] != 0) {
    line.append(" ").append(std::to_string(reply.enhanced[0]));
    line.append(".").append(std::to_string(reply.enhanced[1]));
    line.append(".").append(std::to_string(reply.enhanced[2]));
  }
  line.append(" ").append(reply.text);
  std::replace(line.begin(), line.end(), '\n', ' ');
  return line;
}

}  // namespace

ReplyRules::ReplyRules(std::span<const std::string> rules, std::string_view preset) {
  for (const std::string& rule : rules) rules_.push_back(Parse(rule));
  if (preset != "mailtrap") return;
  for (const Fixed& fixed : kMailtrap) {
    rules_.push_back({std::string(fixed.pattern), {POSTBUS_THROTTLED, fixed.retry_after_ms}});
  }
}

ReplyRules::Rule ReplyRules::Parse(std::string_view text) {
  const size_t arrow = text.find("->");
  if (arrow == std::string_view::npos) Fail(text, "has no \"->\"");
  Rule rule;
  rule.pattern = Trim(text.substr(0, arrow));
  if (rule.pattern.size() < 3 || (rule.pattern[0] != '4' && rule.pattern[0] != '5')) {
    Fail(text, "does not begin with a reply code from 400 to 599");
  }
  const std::string_view right = Trim(text.substr(arrow + 2));
  const std::string_view outcome = right.substr(0, right.find(' '));
  if (outcome == "throttled") {
    rule.judgement.outcome = POSTBUS_THROTTLED;
  } else if (outcome == "transient") {
    rule.judgement.outcome = POSTBUS_TRANSIENT;
  } else if (outcome == "rejected") {
    rule.judgement.outcome = POSTBUS_REJECTED_MESSAGE;
  } else if (outcome == "provider_fault") {
    rule.judgement.outcome = POSTBUS_PROVIDER_FAULT;
  } else {
    Fail(text, "has an outcome other than throttled, transient, rejected, provider_fault");
  }
  if (const std::string_view rest = Trim(right.substr(outcome.size())); !rest.empty()) {
    if (outcome == "rejected") Fail(text, "has a duration, but what is rejected does not come again");
    rule.judgement.retry_after_ms = Milliseconds(text, rest);
  }
  return rule;
}

Judgement ReplyRules::Find(const Reply& reply) const {
  if (reply.code < 400) return {};
  const std::string line = Line(reply);
  for (const Rule& rule : rules_) {
    if (Matches(rule.pattern, line)) return rule.judgement;
  }
  for (const Fixed& fixed : kEveryServer) {
    if (Matches(fixed.pattern, line)) return {POSTBUS_THROTTLED, fixed.retry_after_ms};
  }
  return {};
}

}  // namespace postbus::smtp
