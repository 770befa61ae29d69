// api/template_check.h - renders a mail to see whether it can be rendered, so that a misspelt template or a missing
// variable is told to who posts it and does not become a dead letter. One object a thread.
#pragma once

#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include "event/email_event.h"
#include "host/renderer.h"

namespace postbus {

class TemplateCheck {
 public:
  explicit TemplateCheck(std::shared_ptr<const Renderer> renderer) : renderer_(std::move(renderer)) {}

  // Appends what is wrong; pointers into the message ("/data/Link"). `event` was decoded from `json`.
  // False: something was.
  [[nodiscard]] bool Check(std::string_view json, const EmailEvent& event, std::vector<Violation>& violations);

 private:
  const std::shared_ptr<const Renderer> renderer_;
  RenderedMail rendered_;
};

}  // namespace postbus
