// plugins/smtp/reply_rules.h - what some servers mean by some of their replies, where code and enhanced code say
// something else: "535 5.7.8 Too many connections" of Mailtrap is no wrong password.
//
// Immutable once made; any thread.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "plugins/smtp/reply.h"

namespace postbus::smtp {

struct Judgement {
  int32_t outcome = 0;
  uint64_t retry_after_ms = 0;
};

class ReplyRules {
 public:
  // Only what every server means by these replies.
  ReplyRules() = default;
  // The first rule that fits decides: `rules` as an operator writes them, then the preset's ("none", "mailtrap"), then
  // those for every server. A rule is `PATTERN -> OUTCOME [DURATION]`: the pattern is compared with the beginning of
  // "CODE ENHANCED-CODE TEXT" without regard to case, `?` is one character, `*` any number; the outcome is throttled,
  // transient, rejected or provider_fault. std::runtime_error: what is wrong with a rule.
  ReplyRules(std::span<const std::string> rules, std::string_view preset);

  // Only refusals are looked at; outcome 0: no rule fits. Rejected is POSTBUS_REJECTED_MESSAGE.
  Judgement Find(const Reply& reply) const;

 private:
  struct Rule {
    std::string pattern;
    Judgement judgement;
  };
  static Rule Parse(std::string_view text);

  std::vector<Rule> rules_;
};

}  // namespace postbus::smtp
