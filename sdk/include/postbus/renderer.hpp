// postbus/renderer.hpp - a renderer as a C++ class. The rules of postbus/abi/renderer.h hold; the tags are repeated
// here.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "postbus/abi/renderer.h"
#include "postbus/barrier.hpp"
#include "postbus/plugin.hpp"

namespace postbus::sdk {

// Where Render writes. What was written before another result than POSTBUS_RENDER_OK is thrown away by the host.
struct RenderOutput {
  Sink subject;
  Sink text;
  Sink html;
  Sink error;  // a sentence; for MISSING_VARIABLE: a JSON pointer, a space, a sentence
};

// Derive from it, give the class a constructor `Name(Host host, const Options& options)` that reads and checks every
// template and throws std::runtime_error with a sentence where one is wrong, and export it with
// POSTBUS_EXPORT_RENDERER. [control]
class Renderer {
 public:
  Renderer() = default;
  Renderer(const Renderer&) = delete;
  Renderer& operator=(const Renderer&) = delete;
  virtual ~Renderer() = default;

  // Renders template `name` with the JSON object `data`; returns POSTBUS_RENDER_*. Re-entrant and pure. [any]
  virtual int32_t Render(std::string_view name, std::string_view data, const RenderOutput& out) const = 0;

  // Names of all templates, sorted. [any]
  virtual std::vector<std::string> List() const = 0;
};

// The C functions of renderer class T with option table kTable.
template <typename T, const About& kAbout, const auto& kTable>
class RendererTable {
 public:
  static const void* Get(postbus_str extension_id) {
    return View(extension_id) == POSTBUS_RENDERER_ID ? &kRenderer : nullptr;
  }

 private:
  struct Instance {
    Host host;
    T renderer;
  };
  static Instance& Of(postbus_instance* self) { return *reinterpret_cast<Instance*>(self); }

  static int32_t Create(const postbus_host* host, const postbus_options* options, postbus_instance** out,
                        const postbus_sink* error) noexcept {
    return Barrier(
        [&]() -> int32_t {
          *out = reinterpret_cast<postbus_instance*>(
              new Instance{.host = Host(host), .renderer = T(Host(host), Options(*options, kTable))});
          return POSTBUS_OK;
        },
        [&](std::string_view what) -> int32_t {
          Sink(error).Write(what);
          return POSTBUS_ERROR;
        });
  }

  static int32_t Render(postbus_instance* self, const postbus_render_input* input,
                        const postbus_render_output* output) noexcept {
    return Barrier(
        [&]() -> int32_t {
          const RenderOutput out{.subject = Sink(output->subject),
                                 .text = Sink(output->text),
                                 .html = Sink(output->html),
                                 .error = Sink(output->error)};
          return Of(self).renderer.Render(View(input->name), View(input->data), out);
        },
        [&](std::string_view what) -> int32_t {
          LogThrown(Of(self).host, "render", what);
          Sink(output->error).Write(what);
          return POSTBUS_RENDER_FAILED;
        });
  }

  static void List(postbus_instance* self, const postbus_sink* names) noexcept {
    Barrier(
        [&] {
          for (const std::string& name : Of(self).renderer.List()) Sink(names).Write(name);
        },
        [&](std::string_view what) { LogThrown(Of(self).host, "list", what); });
  }

  static void Destroy(postbus_instance* self) noexcept { delete &Of(self); }

  static constexpr postbus_renderer kRenderer = {.size = sizeof(postbus_renderer),
                                                 .caps = kAbout.caps,
                                                 .create = &Create,
                                                 .render = &Render,
                                                 .list = &List,
                                                 .destroy = &Destroy};
};

}  // namespace postbus::sdk

// The plugin's one exported symbol; see POSTBUS_EXPORT_TRANSPORT.
#define POSTBUS_EXPORT_RENDERER(Class, about, options)                                            \
  constinit const postbus_entry postbus_plugin_entry = ::postbus::sdk::MakeEntry<about, options>( \
      POSTBUS_KIND_RENDERER, &::postbus::sdk::RendererTable<Class, about, options>::Get)
