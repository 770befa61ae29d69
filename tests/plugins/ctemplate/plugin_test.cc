// The plugin as the host sees it: a shared object, of which several copies may be loaded at a time.
#include <dlfcn.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>

#include "postbus/testing/fake_host.hpp"
#include "template_files.h"

namespace postbus::templates {
namespace {

namespace fs = std::filesystem;

// One loaded copy of the plugin and an instance of it.
class LoadedPlugin {
 public:
  LoadedPlugin(const fs::path& library, const std::string& directory, bool strict) {
    library_ = dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (library_ == nullptr) throw std::runtime_error(dlerror());
    entry_ = static_cast<const postbus_entry*>(dlsym(library_, "postbus_plugin_entry"));
    renderer_ = static_cast<const postbus_renderer*>(entry_->get(sdk::Str(POSTBUS_RENDERER_ID)));
    const postbus_value directory_value{sizeof(postbus_value), 0, 0, sdk::Str(directory), nullptr, 0, 0};
    const postbus_value strict_value{sizeof(postbus_value), 0, strict ? 1 : 0, {nullptr, 0}, nullptr, 0, 0};
    const postbus_value* const values[] = {&directory_value, &strict_value};
    const postbus_options options{sizeof(postbus_options), 2, values};
    StringSink error;
    if (renderer_->create(host_.abi(), &options, &instance_, error.abi()) != POSTBUS_OK) error_ = error.text();
  }
  ~LoadedPlugin() {
    if (instance_ != nullptr) renderer_->destroy(instance_);
    dlclose(library_);
  }
  LoadedPlugin(const LoadedPlugin&) = delete;
  LoadedPlugin& operator=(const LoadedPlugin&) = delete;

  const postbus_entry& entry() const { return *entry_; }
  const std::string& error() const { return error_; }

  Rendered Render(std::string_view name, std::string_view data) const {
    StringSink subject;
    StringSink text;
    StringSink html;
    StringSink error;
    const postbus_render_input input = {sizeof input, 0, sdk::Str(name), sdk::Str(data)};
    const postbus_render_output output = {sizeof output, 0, subject.abi(), text.abi(), html.abi(), error.abi()};
    const int32_t result = renderer_->render(instance_, &input, &output);
    return {result, subject.text(), text.text(), html.text(), error.text()};
  }
  std::string List() const {
    StringSink names;
    renderer_->list(instance_, names.abi());
    return names.text();
  }

 private:
  sdk::testing::FakeHost host_;
  void* library_ = nullptr;
  const postbus_entry* entry_ = nullptr;
  const postbus_renderer* renderer_ = nullptr;
  postbus_instance* instance_ = nullptr;
  std::string error_;
};

const fs::path kPlugin = POSTBUS_BUILD_DIR "/plugins/ctemplate.so";

TEST(Plugin, SaysWhatItIsAndRenders) {
  TemplateFiles files;
  files.Add("a/text.tpl", "Hi {{N}}").Add("b/html.tpl", "x");
  const LoadedPlugin plugin(kPlugin, files.directory(), true);
  EXPECT_EQ(plugin.error(), "");
  EXPECT_EQ(sdk::View(plugin.entry().id), "ctemplate");
  ASSERT_EQ(plugin.entry().n_options, 2u);
  EXPECT_EQ(plugin.entry().options[0]->flags, static_cast<uint32_t>(POSTBUS_OPTION_REQUIRED));
  EXPECT_EQ(sdk::View(plugin.entry().options[1]->default_value), "true");
  EXPECT_EQ(plugin.entry().get(sdk::Str("postbus.transport/1")), nullptr);
  EXPECT_EQ(plugin.List(), "ab");
  EXPECT_EQ(plugin.Render("a", R"({"N":"Ann"})").text, "Hi Ann");
  const Rendered missing = plugin.Render("a", "{}");
  EXPECT_EQ(missing.result, POSTBUS_RENDER_MISSING_VARIABLE);
  EXPECT_EQ(missing.error, "/N is not in data");
  EXPECT_EQ(LoadedPlugin(kPlugin, files.directory(), false).Render("a", "{}").text, "Hi ");
}

TEST(Plugin, ReportsAWrongTemplate) {
  TemplateFiles files;
  files.Add("a/html.tpl", "\n<a href={{N}}>");
  const LoadedPlugin plugin(kPlugin, files.directory(), true);
  EXPECT_NE(plugin.error().find("a/html.tpl:2: {{N}} stands where"), std::string::npos) << plugin.error();
}

TEST(Plugin, CopiesLiveAndDieAlone) {
  TemplateFiles files;
  files.Add("a/html.tpl", "<a href=\"{{N}}\">");
  const fs::path copy = files.directory() / "_copy.so";
  fs::copy_file(kPlugin, copy);
  auto first = std::make_unique<LoadedPlugin>(kPlugin, files.directory(), true);
  const LoadedPlugin second(copy, files.directory(), true);
  first.reset();
  EXPECT_EQ(second.Render("a", R"({"N":"tel:1"})").html, "<a href=\"tel:1\">");
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(LoadedPlugin(kPlugin, files.directory(), true).Render("a", R"({"N":"tel:1"})").html,
              "<a href=\"tel:1\">");
  }
}

}  // namespace
}  // namespace postbus::templates
