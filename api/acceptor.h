// api/acceptor.h - what makes a posted mail an event of the queue: rules, id and time. Used by the HTTP API and by
// `postbus send`. One object a thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "event/email_event.h"

namespace postbus {

class Acceptor {
 public:
  // `default_from` is defaults.from of the configuration, or "".
  Acceptor(const EventLimits& limits, std::string default_from);

  // Checks `json`, a message or a whole EmailEvent. On true id(), event() and value() are set; on false violations()
  // says why: an empty pointer in the first one means that the text is no JSON object at all. `fixed_id`: what an
  // Idempotency-Key makes the id, which a mail may not bring then; empty: the mail's own, or a new one.
  [[nodiscard]] bool Accept(std::string_view json, int64_t now_unix_ms, std::string_view fixed_id = {});

  const std::string& id() const { return id_; }
  const EmailEvent& event() const { return event_; }
  const std::string& value() const { return value_; }  // what to publish
  const std::vector<Violation>& violations() const { return violations_; }

 private:
  const std::string default_from_;
  EventDecoder decoder_;
  EmailEvent event_;
  std::string id_;
  std::string value_;
  std::vector<Violation> violations_;
};

}  // namespace postbus
