// plugins/ctemplate/renderer.h - the renderer: one set of templates and how strict it is with their variables.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "postbus/renderer.hpp"
#include "template_set.h"

namespace postbus::templates {

class CtemplateRenderer final : public sdk::Renderer {
 public:
  // Options: `directory`, `strict`. Throws std::runtime_error where a template is wrong.
  CtemplateRenderer(sdk::Host host, const sdk::Options& options);
  CtemplateRenderer(const std::string& directory, bool strict) : templates_(directory), strict_(strict) {}

  int32_t Render(std::string_view name, std::string_view data, const sdk::RenderOutput& out) const override;
  std::vector<std::string> List() const override { return templates_.Names(); }

 private:
  const TemplateSet templates_;
  const bool strict_;
};

}  // namespace postbus::templates
