/* An exception leaves render and list. */
#include <stdexcept>

#include "postbus/abi.h"

struct postbus_instance {};

namespace {

postbus_instance instance;

int32_t Create(const postbus_host*, const postbus_options*, postbus_instance** out, const postbus_sink*) {
  *out = &instance;
  return POSTBUS_OK;
}
int32_t Render(postbus_instance*, postbus_str, postbus_str, const postbus_sink* subject, const postbus_sink*,
               const postbus_sink*, const postbus_sink*) {
  subject->write(subject->ctx, "half", 4);
  throw std::runtime_error("no such cache");
}
void List(postbus_instance*, const postbus_sink*) { throw 42; }
void Destroy(postbus_instance*) {}

constexpr postbus_renderer kRenderer = {sizeof(postbus_renderer), 0, &Create, &Render, &List, &Destroy};

const void* Get(postbus_str) { return &kRenderer; }

}  // namespace

const postbus_entry postbus_plugin_entry = {POSTBUS_ABI_MAGIC,
                                            sizeof(postbus_entry),
                                            POSTBUS_ABI_MAJOR,
                                            POSTBUS_ABI_MINOR,
                                            POSTBUS_KIND_RENDERER,
                                            POSTBUS_STR("bad"),
                                            POSTBUS_STR("1.0.0"),
                                            POSTBUS_STR("Has one fault."),
                                            nullptr,
                                            0,
                                            0,
                                            &Get};
