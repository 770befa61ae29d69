// host/renderer.h - the C++ face of the renderer instance.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "event/status.h"
#include "host/plugin_library.h"
#include "host/plugin_options.h"
#include "postbus/abi.h"
#include "queue/queue.h"

namespace postbus {

// Reuse it: strings keep their capacity.
struct RenderedMail {
  std::string subject;
  std::string text;
  std::string html;
  std::string error;  // where the result is not kOk
};

enum class RenderOutcome { kOk, kUnknownTemplate, kMissingVariable, kInvalidData, kFailed };

// Thread-safe. Keeps its library loaded.
class Renderer {
 public:
  // `log` must outlive the Renderer.
  static Result<std::unique_ptr<Renderer>> Create(std::shared_ptr<const PluginLibrary> library,
                                                  const PluginOptions& options, QueueLog log);
  ~Renderer();

  const PluginLibrary& library() const;

  // Renders into `out`, cleared first. `data` is a JSON object.
  RenderOutcome Render(std::string_view template_name, std::string_view data, RenderedMail& out) const;
  std::vector<std::string> Templates() const;

 private:
  Renderer();
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace postbus
