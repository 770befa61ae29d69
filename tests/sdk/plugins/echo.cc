// A renderer for tests: the template `echo` puts its data into the text, its size into the subject.
#include <stdexcept>

#include "postbus/renderer.hpp"

namespace echo {
namespace sdk = postbus::sdk;

constexpr sdk::About kAbout{.id = "echo", .version = "1.0.0", .summary = "Gives back what it got."};
constexpr std::array kOptions = {sdk::StringOption("mood", "One word.").Default("calm")};

class Echo : public sdk::Renderer {
 public:
  Echo(sdk::Host host, const sdk::Options& options) {
    if (options.String("mood") == "bad") throw std::runtime_error("mood is bad; choose another one");
    host.Log(sdk::LogLevel::kInfo, "in a " + options.String("mood") + " mood");
  }

  int32_t Render(std::string_view name, std::string_view data, const sdk::RenderOutput& out) const override {
    if (name == "silent") return POSTBUS_RENDER_FAILED;
    if (name == "strange") return 99;
    if (name == "throws") throw std::runtime_error("out of paper");
    if (name == "endless") {
      const std::string megabyte(1 << 20, 'x');
      for (int i = 0; i < 17; ++i) out.html.Write(megabyte);
      return POSTBUS_RENDER_OK;
    }
    if (name != "echo") {
      out.error.Write("there is no template \"" + std::string(name) + "\"");
      return POSTBUS_RENDER_UNKNOWN_TEMPLATE;
    }
    if (data == "{}") {
      out.text.Write("half a text");
      out.error.Write("/name is missing");
      return POSTBUS_RENDER_MISSING_VARIABLE;
    }
    if (data.front() != '{') return POSTBUS_RENDER_INVALID_DATA;
    out.subject.Write(std::to_string(data.size()));
    out.subject.Write(" bytes");
    out.text.Write(data);
    return POSTBUS_RENDER_OK;
  }

  std::vector<std::string> List() const override { return {"echo", "silent"}; }
};

}  // namespace echo

POSTBUS_EXPORT_RENDERER(echo::Echo, echo::kAbout, echo::kOptions);
