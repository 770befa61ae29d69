// Turns a template and data into a mail. TODO: your engine; this one knows a single template, "hello".
#include "postbus/renderer.hpp"

namespace {
namespace sdk = postbus::sdk;

constexpr sdk::About kAbout{.id = "acme", .version = "0.1.0", .summary = "Renders one template, which says hello."};
constexpr std::array kOptions = {sdk::StringOption("greeting", "What the mail says.").Default("Hello")};

class Acme : public sdk::Renderer {
 public:
  // TODO: read and check every template here, so that Render does no file I/O.
  Acme(sdk::Host, const sdk::Options& options) : greeting_(options.String("greeting")) {}

  int32_t Render(std::string_view name, std::string_view data, const sdk::RenderOutput& out) const override {
    if (name != "hello") {
      out.error.Write("there is no such template");
      return POSTBUS_RENDER_UNKNOWN_TEMPLATE;
    }
    if (!data.starts_with('{') || !data.ends_with('}')) {  // TODO: a JSON parser
      out.error.Write("the data is not a JSON object");
      return POSTBUS_RENDER_INVALID_DATA;
    }
    out.subject.Write(greeting_);
    out.text.Write(greeting_ + "\n");
    return POSTBUS_RENDER_OK;
  }

  std::vector<std::string> List() const override { return {"hello"}; }

 private:
  const std::string greeting_;
};
}  // namespace

POSTBUS_EXPORT_RENDERER(Acme, kAbout, kOptions);
