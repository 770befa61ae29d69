#include "template_set.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <string>
#include <vector>

#include "template_files.h"

namespace postbus::templates {
namespace {

namespace fs = std::filesystem;

std::string HtmlError(std::string_view html) { return TemplateFiles().Add("t/html.tpl", html).Error(); }
std::string TextError(std::string_view text) { return TemplateFiles().Add("t/text.tpl", text).Error(); }

TEST(TemplateSet, ListsTemplatesSorted) {
  TemplateFiles files;
  files.Add("b/text.tpl", "x").Add("a-1/html.tpl", "x").Add("c.d_e/text.tpl", "x");
  files.Add("_partials/footer.tpl", "x").Add("_drafts/old/text.tpl", "x").Add(".git/config", "x").Add("README.md", "x");
  files.Add("a-1/sample.json", "{}");
  EXPECT_EQ(TemplateSet(files.directory()).Names(), (std::vector<std::string>{"a-1", "b", "c.d_e"}));
  EXPECT_EQ(TemplateSet(files.directory()).Find("_partials"), nullptr);
  EXPECT_EQ(TemplateSet(files.directory()).Find("../b"), nullptr);
}

TEST(TemplateSet, ErrorsNameFileLineAndRemedy) {
  EXPECT_EQ(
      HtmlError("<p>\n<a\nhref={{Link}}>x</a>"),
      "t/html.tpl:3: {{Link}} stands where no value can be escaped safely; put attribute values into quotes, e.g. "
      "href=\"{{Link}}\"");
  EXPECT_EQ(HtmlError("<p style={{Style}}>").substr(0, 13), "t/html.tpl:1:");
  EXPECT_EQ(TextError("a\n\n{{Name"), "t/text.tpl:3: a marker begins here that no }} ends");
  EXPECT_EQ(TextError("{{#a}}\n{{#b}}\n{{/a}}"),
            "t/text.tpl:3: {{/a}} closes a section that is not open here; {{#b}} is");
  EXPECT_EQ(TextError("x\n{{/a}}"), "t/text.tpl:2: {{/a}} closes a section that is not open here");
  EXPECT_EQ(TextError("x\n\n  {{#a}}\n y"), "t/text.tpl:3: section \"a\" is not closed in this file");
  EXPECT_EQ(
      TextError("{{order.id}}"),
      "t/text.tpl:1: \"order.id\" is not a name: only letters, digits and _ may stand in a marker; {{order.id}} is "
      "{{#order}}{{id}}{{/order}}");
  EXPECT_EQ(TextError("{{POSTBUS_URL_X}}"), "t/text.tpl:1: names that begin with POSTBUS_URL_ are not for templates");
  EXPECT_NE(TextError("{{}}"), "");
  EXPECT_NE(TextError("{{#}}{{/}}"), "");
  EXPECT_NE(TextError("{{ Name }}"), "");
  EXPECT_EQ(TextError("a\n{{=<% %>=}}"), "t/text.tpl:2: other delimiters than {{ and }} are not supported");
  EXPECT_EQ(TextError("{{>missing}}").substr(0, 35), "t/text.tpl:1: there is no partial _");
  EXPECT_EQ(TextError("ok \xFF"), "t/text.tpl: is not UTF-8");
  EXPECT_EQ(TextError(std::string_view("a\0b", 3)), "t/text.tpl: has a NUL byte in it");
  EXPECT_EQ(TextError(std::string((1 << 20) + 1, 'x')), "t/text.tpl: is larger than 1 MiB");
}

TEST(TemplateSet, ErrorInAPartialNamesThePartial) {
  TemplateFiles files;
  files.Add("t/html.tpl", "<p>\n{{>button}}\n").Add("_partials/button.tpl", "<b>\n</b>\n<a href={{Link}}>x</a>\n");
  EXPECT_EQ(files.Error().substr(0, 22), "_partials/button.tpl:3");
}

TEST(TemplateSet, EscapingCannotBeTurnedOff) {
  for (const char* html : {"{{Name:none}}", "{{Name:x-my-own}}", "{{Name:h}}", "{{Name:html_escape:none}}",
                           "{{%AUTOESCAPE context=\"XML\"}}{{Name}}", "{{%AUTOESCAPE context=\"JSON\"}}",
                           "{{%AUTOESCAPE context=\"HTML\" state=\"IN_TAG\"}}", "{{%AUTOESCAPE}}", "{{%OTHER}}"}) {
    EXPECT_EQ(HtmlError(std::string("x\n") + html).substr(0, 13), "t/html.tpl:2:") << html;
    TemplateFiles files;
    files.Add("t/html.tpl", "{{>p}}").Add("_partials/p.tpl", html);
    EXPECT_EQ(files.Error().substr(0, 18), "_partials/p.tpl:1:") << html;
  }
  EXPECT_EQ(HtmlError("{{%AUTOESCAPE context=\"HTML\"}}\n<p>{{Name}}"), "") << "what is done anyway may be said";
  EXPECT_NE(TextError("{{%AUTOESCAPE context=\"HTML\"}}"), "") << "text is not HTML";
}

TEST(TemplateSet, PartsAndNames) {
  EXPECT_EQ(TemplateFiles().Add("t/subject.tpl", "x").Error(), "t: has neither text.tpl nor html.tpl");
  EXPECT_EQ(TemplateFiles().Add("t/text.tpl", "x").Add("t/htm.tpl", "x").Error(),
            "t/htm.tpl: is none of subject.tpl, text.tpl and html.tpl");
  for (const char* name : {"Welcome", "my template", "a..b", "-a", "ümlaut"}) {
    EXPECT_NE(TemplateFiles().Add(std::string(name) + "/text.tpl", "x").Error(), "") << name;
  }
  EXPECT_EQ(TemplateFiles().Add("t/text.tpl", "x").Add("t/subject.tpl", "one\ntwo\n").Error(),
            "t/subject.tpl:1: a subject is one line");
  TemplateFiles files;
  const std::string missing = files.directory() / "missing";
  EXPECT_THROW(TemplateSet{missing}, std::runtime_error);
}

TEST(TemplateSet, NothingOutsideTheDirectoryIsRead) {
  TemplateFiles outside;
  outside.Add("secret.tpl", "secret").Add("dir/text.tpl", "secret");
  for (const char* include : {"{{>../secret}}", "{{>/etc/passwd}}", "{{>a/b}}", "{{>.hidden}}", "{{>}}", "{{>a..b}}",
                              "{{>Upper}}", "{{>footer:h}}"}) {
    EXPECT_NE(TextError(include).find("is not the name of a partial"), std::string::npos) << include;
  }
  {
    TemplateFiles files;
    files.Add("t/text.tpl", "{{>link}}").Add("_partials/x.tpl", "");
    fs::create_symlink(outside.directory() / "secret.tpl", files.directory() / "_partials/link.tpl");
    EXPECT_NE(files.Error().find("leads out of"), std::string::npos);
  }
  {
    TemplateFiles files;
    files.Add("t/html.tpl", "x");
    fs::create_symlink(outside.directory() / "secret.tpl", files.directory() / "t/text.tpl");
    EXPECT_NE(files.Error().find("leads out of"), std::string::npos);
  }
  {
    TemplateFiles files;
    fs::create_directory_symlink(outside.directory() / "dir", files.directory() / "t");
    EXPECT_NE(files.Error().find("leads out of"), std::string::npos);
  }
  {
    TemplateFiles files;  // a directory whose name begins like ours
    const fs::path sibling = files.directory().string() + "-more";
    fs::create_directory(sibling);
    std::ofstream(sibling / "x.tpl") << "secret";
    files.Add("t/text.tpl", "{{>link}}").Add("_partials/x.tpl", "");
    fs::create_symlink(sibling / "x.tpl", files.directory() / "_partials/link.tpl");
    EXPECT_NE(files.Error().find("leads out of"), std::string::npos);
    fs::remove_all(sibling);
  }
  {
    TemplateFiles files;  // a link to what is inside is fine
    files.Add("t/text.tpl", "{{>link}}").Add("_partials/real.tpl", "inside");
    fs::create_symlink("real.tpl", files.directory() / "_partials/link.tpl");
    EXPECT_EQ(files.Error(), "");
  }
  {
    TemplateFiles files;  // nothing to wait for
    files.Add("t/html.tpl", "x");
    ASSERT_EQ(mkfifo((files.directory() / "t/text.tpl").c_str(), 0600), 0);
    EXPECT_EQ(files.Error(), "t/text.tpl: is not a file");
  }
}

TEST(TemplateSet, PartialsThatNeverEndAreRefused) {
  TemplateFiles files;
  files.Add("t/text.tpl", "{{>a}}").Add("_partials/a.tpl", "x {{>b}}").Add("_partials/b.tpl", "y {{>a}}");
  EXPECT_NE(files.Error().find("is included by itself"), std::string::npos);
  TemplateFiles bomb;
  bomb.Add("t/text.tpl", "{{>p0}}").Add("_partials/p9.tpl", std::string(1000, 'x'));
  for (int i = 0; i < 9; ++i) {
    std::string ten;
    for (int k = 0; k < 10; ++k) ten += "{{>p" + std::to_string(i + 1) + "}}";
    bomb.Add("_partials/p" + std::to_string(i) + ".tpl", ten);
  }
  EXPECT_NE(bomb.Error().find("larger than 4 MiB"), std::string::npos);
}

TEST(TemplateSet, TwoGenerationsWithTheSameNames) {
  TemplateFiles files;
  files.Add("t/text.tpl", "old {{>p}} {{X}}").Add("_partials/p.tpl", "p1").Add("t/html.tpl", "<a href=\"{{X}}\">");
  const CtemplateRenderer first(files.directory(), true);
  files.Add("t/text.tpl", "new {{>p}} {{X}}").Add("_partials/p.tpl", "p2").Add("u/text.tpl", "u");
  const CtemplateRenderer second(files.directory(), true);
  EXPECT_EQ(Render(first, "t", R"({"X":"mailto:a@b"})").text, "old p1 mailto:a@b");
  EXPECT_EQ(Render(second, "t", R"({"X":"mailto:a@b"})").text, "new p2 mailto:a@b");
  EXPECT_EQ(Render(first, "t", R"({"X":"mailto:a@b"})").html, "<a href=\"mailto:a@b\">");
  EXPECT_EQ(Render(first, "u", "{}").result, POSTBUS_RENDER_UNKNOWN_TEMPLATE);
  EXPECT_EQ(Render(second, "u", "{}").text, "u");
  fs::remove_all(files.directory());  // rendering does no file I/O
  EXPECT_EQ(Render(second, "t", R"({"X":"1"})").text, "new p2 1");
}

}  // namespace
}  // namespace postbus::templates
