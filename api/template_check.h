// api/template_check.h - renders a mail to see whether it can be rendered, so that a misspelt template or a missing
// variable is told to who posts it and does not become a dead letter. One object a thread.
#pragma once

#include <string_view>
#include <vector>

#include "event/email_event.h"
#include "host/renderer.h"

namespace postbus {

class TemplateCheck {
 public:
  // `renderer` outlives it.
  explicit TemplateCheck(const Renderer& renderer) : renderer_(renderer) {}

  // Appends what is wrong; pointers into the message ("/data/Link"). `event` was decoded from `json`.
  // False: something was.
  [[nodiscard]] bool Check(std::string_view json, const EmailEvent& event, std::vector<Violation>& violations);

 private:
  const Renderer& renderer_;
  RenderedMail rendered_;
};

}  // namespace postbus
