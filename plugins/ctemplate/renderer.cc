#include "renderer.h"

#include <ctemplate/template.h>

#include "dictionary.h"

namespace postbus::templates {

CtemplateRenderer::CtemplateRenderer(sdk::Host, const sdk::Options& options)
    : CtemplateRenderer(options.Path("directory"), options.Boolean("strict")) {}

int32_t CtemplateRenderer::Render(std::string_view name, std::string_view data, const sdk::RenderOutput& out) const {
  const MailTemplate* mail = templates_.Find(name);
  if (mail == nullptr) {
    out.error.Write("there is no template");
    if (IsName(name) && name.size() <= 64) out.error.Write(" \"" + std::string(name) + '"');
    return POSTBUS_RENDER_UNKNOWN_TEMPLATE;
  }

  Data values;
  Expansion expansion{.arena = values.arena(), .strict = strict_};
  if (!values.Parse(data, expansion.error)) {
    out.error.Write(expansion.error);
    return POSTBUS_RENDER_INVALID_DATA;
  }

  const Scope root(values.root(), expansion);
  std::string rendered;
  auto expand = [&](const Part& part, const sdk::Sink& sink, bool one_line) {
    if (part.compiled == nullptr || expansion.failed()) return;
    rendered.clear();
    rendered.reserve(part.source_bytes + part.source_bytes / 2);
    Output output(rendered, expansion);
    part.compiled->ExpandWithData(&output, &root, nullptr);
    if (one_line && rendered.find_first_of("\r\n") != std::string::npos) {
      expansion.Fail(POSTBUS_RENDER_INVALID_DATA, "a value in the subject has a line break in it");
    }
    if (!expansion.failed()) sink.Write(rendered);
  };
  expand(mail->subject, out.subject, true);
  expand(mail->text, out.text, false);
  expand(mail->html, out.html, false);
  if (expansion.failed()) out.error.Write(expansion.error);
  return expansion.result;
}

}  // namespace postbus::templates
