// A renderer for tests of the pipeline: template "hello" gives subject "Hello" and the data as text and HTML; "silent"
// has no subject; "torn" a subject with a line break; "slow" takes three seconds; any other is unknown.
#include <chrono>
#include <thread>

#include "postbus/renderer.hpp"

namespace {

namespace sdk = postbus::sdk;

constexpr sdk::About kAbout{.id = "echo", .version = "1", .summary = "Gives back what it got."};
constexpr std::array<sdk::Option, 0> kOptions{};

class Echo : public sdk::Renderer {
 public:
  Echo(sdk::Host, const sdk::Options&) {}

  int32_t Render(std::string_view name, std::string_view data, const sdk::RenderOutput& out) const override {
    if (name == "slow") {
      std::this_thread::sleep_for(std::chrono::seconds(3));
      name = "hello";
    }
    if (name != "hello" && name != "silent" && name != "torn") {
      out.error.Write("there is no template of this name for ada@example.com");
      return POSTBUS_RENDER_UNKNOWN_TEMPLATE;
    }
    if (name == "hello") out.subject.Write("Hello");
    if (name == "torn") out.subject.Write("Hello\r\nBcc: eve@example.com");
    out.text.Write(data);
    out.html.Write(data);
    return POSTBUS_RENDER_OK;
  }

  std::vector<std::string> List() const override { return {"hello", "silent", "torn"}; }
};

}  // namespace

POSTBUS_EXPORT_RENDERER(Echo, kAbout, kOptions);
