#include "api/template_check.h"

#include <string>
#include <utility>

#include "event/address.h"
#include "host/plugin_options.h"

namespace postbus {
namespace {

std::string UnknownTemplate(const std::string& name, const std::vector<std::string>& templates) {
  std::string detail = "there is no template \"" + name + "\"";
  const std::vector<std::string_view> known(templates.begin(), templates.end());
  if (const std::string_view near = NearestName(name, known); !near.empty()) {
    detail.append("; did you mean \"").append(near).append("\"?");
  }
  return detail;
}

// "/Link is not in data": a pointer into data, a blank, a sentence. Not every renderer knows where.
Violation InData(std::string_view error) {
  const size_t blank = error.starts_with('/') ? error.find(' ') : error.npos;
  if (blank == error.npos) return {"/data", std::string(error)};
  return {"/data" + std::string(error.substr(0, blank)), std::string(error.substr(blank + 1))};
}

}  // namespace

bool TemplateCheck::Check(std::string_view json, const EmailEvent& event, std::vector<Violation>& violations) {
  if (event.template_name.empty()) return true;  // it brings html and text itself
  const std::string_view data = event.data.size == 0 ? "{}" : json.substr(event.data.offset, event.data.size);
  switch (renderer_->Render(event.template_name, data, rendered_)) {
    case RenderOutcome::kOk:
      if (!event.subject.empty()) return true;
      if (rendered_.subject.empty()) {
        violations.push_back({"/subject", "neither the mail nor its template has a subject"});
        return false;
      }
      if (const char* problem = HeaderTextProblem(rendered_.subject)) {
        violations.push_back({"/data", std::string("the template's subject, with this data, ") + problem});
        return false;
      }
      return true;
    case RenderOutcome::kUnknownTemplate:
      violations.push_back({"/template", UnknownTemplate(event.template_name, renderer_->Templates())});
      return false;
    case RenderOutcome::kMissingVariable:
    case RenderOutcome::kInvalidData:
    case RenderOutcome::kFailed:
      violations.push_back(InData(rendered_.error));
      return false;
  }
  return false;
}

}  // namespace postbus
