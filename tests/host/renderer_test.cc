#include "host/renderer.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace postbus {
namespace {

class RendererTest : public testing::Test {
 protected:
  Result<std::unique_ptr<Renderer>> Create(const std::string& plugin, const std::string& mood = "calm") {
    auto library = PluginLibrary::Load(POSTBUS_BUILD_DIR + ("/tests/plugins/" + plugin + ".so"));
    if (!library.ok()) return library.TakeStatus();
    PluginConfig config;
    if (plugin == "echo") {
      config.options.emplace_back().name = "mood";
      config.options.back().text = mood;
    }
    auto options = PluginOptions::Parse((*library)->options(), config, "renderer.options", plugin);
    if (!options.ok()) return options.TakeStatus();
    return Renderer::Create(*library, *options, log_);
  }

  std::vector<std::string> lines_;
  QueueLog log_ = [this](LogLevel, std::string_view line) { lines_.emplace_back(line); };
};

TEST_F(RendererTest, Renders) {
  const auto created = Create("echo");
  ASSERT_TRUE(created.ok()) << created.status().message();
  EXPECT_EQ(lines_, std::vector<std::string>{"renderer: in a calm mood"});
  EXPECT_EQ((*created)->library().id(), "echo");
  EXPECT_EQ((*created)->Templates(), (std::vector<std::string>{"echo", "silent"}));
  RenderedMail mail;
  mail.html = "left from the mail before";
  EXPECT_EQ((*created)->Render("echo", "{\"a\":1}", mail), RenderOutcome::kOk);
  EXPECT_EQ(mail.subject, "7 bytes");
  EXPECT_EQ(mail.text, "{\"a\":1}");
  EXPECT_EQ(mail.html, "");
  EXPECT_EQ(mail.error, "");
}

TEST_F(RendererTest, EveryFailureHasASentence) {
  const auto created = Create("echo");
  ASSERT_TRUE(created.ok()) << created.status().message();
  RenderedMail mail;
  EXPECT_EQ((*created)->Render("nothing", "{}", mail), RenderOutcome::kUnknownTemplate);
  EXPECT_EQ(mail.error, "there is no template \"nothing\"");
  EXPECT_EQ((*created)->Render("echo", "{}", mail), RenderOutcome::kMissingVariable);
  EXPECT_EQ(mail.error, "/name is missing");
  EXPECT_EQ((*created)->Render("echo", "[]", mail), RenderOutcome::kInvalidData);
  EXPECT_EQ(mail.error, "the plugin gave no reason");
  EXPECT_EQ((*created)->Render("silent", "{}", mail), RenderOutcome::kFailed);
  EXPECT_EQ(mail.error, "the plugin gave no reason");
  EXPECT_EQ((*created)->Render("strange", "{}", mail), RenderOutcome::kFailed) << "an unknown result is a failure";
  EXPECT_EQ((*created)->Render("throws", "{}", mail), RenderOutcome::kFailed);
  EXPECT_EQ(mail.error, "out of paper");
  EXPECT_EQ((*created)->Render("endless", "{}", mail), RenderOutcome::kFailed);
  EXPECT_EQ(mail.error, "a part of the rendered mail is larger than 16 MiB");
  EXPECT_EQ(mail.html.size(), size_t{16} << 20) << "the rest was not kept";
}

TEST_F(RendererTest, CreateFails) {
  const auto created = Create("echo", "bad");
  ASSERT_FALSE(created.ok());
  EXPECT_EQ(created.status().message(), "renderer: mood is bad; choose another one");
}

TEST_F(RendererTest, TransportIsNoRenderer) {
  const auto created = Create("minimal");
  ASSERT_FALSE(created.ok());
  EXPECT_EQ(created.status().message(),
            "renderer: " POSTBUS_BUILD_DIR "/tests/plugins/minimal.so is a transport, not a renderer");
}

}  // namespace
}  // namespace postbus
