#include "renderer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <fstream>
#include <iterator>
#include <string>
#include <thread>
#include <vector>

#include "template_files.h"

namespace postbus::templates {
namespace {

const char* const kShippedTemplates = POSTBUS_SOURCE_DIR "/templates";

// Renders `content` as the one part of a template.
Rendered RenderText(std::string_view content, std::string_view data, bool strict = true) {
  TemplateFiles files;
  files.Add("t/text.tpl", content);
  return Render(CtemplateRenderer(files.directory(), strict), "t", data);
}
std::string Text(std::string_view content, std::string_view data) {
  const Rendered rendered = RenderText(content, data);
  return rendered.result == POSTBUS_RENDER_OK ? rendered.text : "failed: " + rendered.error;
}
std::string Html(std::string_view content, std::string_view data) {
  TemplateFiles files;
  files.Add("t/html.tpl", content);
  const Rendered rendered = Render(CtemplateRenderer(files.directory(), true), "t", data);
  return rendered.result == POSTBUS_RENDER_OK ? rendered.html : "failed: " + rendered.error;
}
Rendered Subject(std::string_view content, std::string_view data) {
  TemplateFiles files;
  files.Add("t/subject.tpl", content).Add("t/text.tpl", "x");
  return Render(CtemplateRenderer(files.directory(), true), "t", data);
}

std::string ReadSample(const std::string& name) {
  std::ifstream stream(std::string(kShippedTemplates) + "/" + name + "/sample.json");
  return {std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>()};
}

TEST(ShippedTemplates, RenderWithTheirSamples) {
  const CtemplateRenderer renderer(kShippedTemplates, true);
  const std::vector<std::string> names = renderer.List();
  EXPECT_EQ(names, (std::vector<std::string>{"order-confirmation", "password-reset", "welcome"}));
  for (const std::string& name : names) {
    const Rendered rendered = Render(renderer, name, ReadSample(name));
    EXPECT_EQ(rendered.result, POSTBUS_RENDER_OK) << name << ": " << rendered.error;
    EXPECT_NE(rendered.subject, "");
    EXPECT_NE(rendered.text.find("usualstore.com"), std::string::npos);
    EXPECT_NE(rendered.html.find("<html lang=\"en\">"), std::string::npos);
    for (const std::string* part : {&rendered.subject, &rendered.text, &rendered.html}) {
      EXPECT_EQ(part->find("{{"), std::string::npos) << name;
      EXPECT_EQ(part->find("}}"), std::string::npos) << name;
    }
    size_t line = 0;
    for (const char c : rendered.html) {
      line = c == '\n' ? 0 : line + 1;
      EXPECT_LE(line, 998u) << name << ": would need another encoding than 7bit";
    }
  }
}

TEST(ShippedTemplates, PasswordResetNeedsNothingButLink) {
  const CtemplateRenderer renderer(kShippedTemplates, true);
  const std::string link = "https://usualstore.com/reset?token=abc123&user=1";
  const Rendered rendered = Render(renderer, "password-reset", "{\"Link\":\"" + link + "\"}");
  EXPECT_EQ(rendered.result, POSTBUS_RENDER_OK) << rendered.error;
  EXPECT_NE(rendered.text.find("\n" + link + "\n"), std::string::npos);
  EXPECT_NE(rendered.html.find("href=\"https://usualstore.com/reset?token=abc123&amp;user=1\""), std::string::npos);
}

TEST(ShippedTemplates, OptionalPartsMayBeAbsent) {
  const CtemplateRenderer renderer(kShippedTemplates, true);
  const Rendered rendered = Render(renderer, "welcome", R"({"Name":"Bo","Link":"https://u.example"})");
  EXPECT_EQ(rendered.result, POSTBUS_RENDER_OK) << rendered.error;
  EXPECT_EQ(rendered.text.find("first order"), std::string::npos);
  EXPECT_EQ(rendered.html.find("first order"), std::string::npos);
}

TEST(ShippedTemplates, EveryRequiredVariableIsMissedByName) {
  const CtemplateRenderer renderer(kShippedTemplates, true);
  const std::pair<std::string, std::vector<std::string>> required[] = {
      {"password-reset", {"Link"}},
      {"welcome", {"Name", "Link"}},
      {"order-confirmation", {"Name", "OrderNumber", "OrderDate", "Subtotal", "Shipping", "Total", "Link"}}};
  for (const auto& [name, variables] : required) {
    for (const std::string& variable : variables) {
      std::string data = ReadSample(name);
      const size_t at = data.find("\"" + variable + "\":");
      ASSERT_NE(at, std::string::npos) << variable;
      data.replace(at + 1, variable.size(), "Renamed");
      const Rendered rendered = Render(renderer, name, data);
      EXPECT_EQ(rendered.result, POSTBUS_RENDER_MISSING_VARIABLE) << name << " " << variable;
      EXPECT_EQ(rendered.error, "/" + variable + " is not in data");
    }
  }
}

TEST(Renderer, UnknownTemplate) {
  TemplateFiles files;
  files.Add("t/text.tpl", "x");
  const CtemplateRenderer renderer(files.directory(), true);
  EXPECT_EQ(Render(renderer, "welcom", "{}").result, POSTBUS_RENDER_UNKNOWN_TEMPLATE);
  EXPECT_EQ(Render(renderer, "welcom", "{}").error, "there is no template \"welcom\"");
  EXPECT_EQ(Render(renderer, "x\r\nlog line", "{}").error, "there is no template");
  EXPECT_EQ(Render(renderer, "", "{}").result, POSTBUS_RENDER_UNKNOWN_TEMPLATE);
}

TEST(Renderer, ValuesAreWrittenAsInTheJson) {
  EXPECT_EQ(Text("{{a}}|{{b}}|{{c}}|{{d}}|{{e}}|{{f}}",
                 R"({"a":"x","b":1e300,"c":0.10,"d":true,"e":false,"f":12345678901234567890123})"),
            "x|1e300|0.10|true|false|12345678901234567890123");
  EXPECT_EQ(Text("{{a}}", R"({"a":"\u00fc\ud83d\ude00 \"q\" \\ \n"})"), "ü😀 \"q\" \\ \n");
  EXPECT_EQ(Text("{{a}}", R"({"a":""})"), "");
  EXPECT_EQ(Text("{{a}}", R"({"a":1,"a":2})"), "2");
}

TEST(Renderer, MissingVariables) {
  Rendered rendered = RenderText("Hi {{Link}}", "{}");
  EXPECT_EQ(rendered.result, POSTBUS_RENDER_MISSING_VARIABLE);
  EXPECT_EQ(rendered.error, "/Link is not in data");
  EXPECT_EQ(rendered.text, "");
  EXPECT_EQ(RenderText("Hi {{Link}}!", "{}", false).text, "Hi !");
  EXPECT_EQ(RenderText("{{Link}}", R"({"Link":null})").error, "/Link is not in data");
  EXPECT_EQ(RenderText("{{#A}}{{Link}}{{/A}}", "{}").result, POSTBUS_RENDER_OK) << "not shown";
  EXPECT_EQ(RenderText("{{#A}}{{Link}}{{/A}}", R"({"A":true})").error, "/Link is not in data");
  EXPECT_EQ(RenderText("{{#A}}{{Link}}{{/A}}", R"({"A":{"x":1}})").error, "/A/Link is not in data");
  EXPECT_EQ(RenderText("{{#A}}{{B}}{{/A}}", R"({"A":[{"B":1},{"C":1}]})").error, "/A/1/B is not in data");
  EXPECT_EQ(RenderText("{{#A}}{{#B}}{{c}}{{/B}}{{/A}}", R"({"A":[{"B":[{"c":1},{"c":2},{}]}]})").error,
            "/A/0/B/2/c is not in data");
  EXPECT_EQ(RenderText("{{#A}}{{#B}}{{c}}{{/B}}{{/A}}", R"({"A":[{"x":1}],"B":{"x":1}})").error, "/B/c is not in data");
}

TEST(Renderer, AMissingVariableInAnyPartIsFound) {
  for (const char* part : {"subject", "text", "html"}) {
    TemplateFiles files;
    files.Add("t/subject.tpl", "s").Add("t/text.tpl", "t").Add("t/html.tpl", "h");
    files.Add(std::string("t/") + part + ".tpl", "{{>p}}").Add("_partials/p.tpl", "{{X}}");
    EXPECT_EQ(Render(CtemplateRenderer(files.directory(), true), "t", "{}").error, "/X is not in data") << part;
  }
}

TEST(Renderer, Sections) {
  const char* list = "{{#I}}[{{n}}]{{#I_separator}}, {{/I_separator}}{{/I}}";
  EXPECT_EQ(Text(list, R"({"I":[{"n":1},{"n":2},{"n":3}]})"), "[1], [2], [3]");
  EXPECT_EQ(Text(list, R"({"I":[]})"), "");
  EXPECT_EQ(Text("{{#I}}{{ITEM}};{{/I}}", R"({"I":["a",2,true]})"), "a;2;true;");
  EXPECT_EQ(Text("{{#I}}{{#ITEM}}{{ITEM}}{{/ITEM}};{{/I}}", R"({"I":[[1,2],[3]]})"), "12;3;");
  EXPECT_EQ(Text("{{#O}}{{a}}{{#P}}{{b}}{{a}}{{/P}}{{/O}}", R"({"O":{"a":1,"P":{"b":2}}})"), "121");
  EXPECT_EQ(Text("{{#I}}{{n}}{{x}}{{/I}}", R"({"I":[{"n":1},{"n":2,"x":"own"}],"x":"outer"})"), "1outer2own");
  EXPECT_EQ(Text("{{#A}}{{#B}}{{a}}{{b}}{{/B}}{{/A}}", R"({"A":[{"a":1},{"a":2}],"B":[{"b":8},{"b":9}]})"), "18192829");
  EXPECT_EQ(Text("{{ITEM}}", R"({"ITEM":"mine"})"), "mine");
  EXPECT_EQ(Text("{{#I}}{{ITEM}}{{/I}}", R"({"I":[{"ITEM":"field"}]})"), "field");
}

TEST(Renderer, SectionsAreShownForWhatIsNeitherFalseNorEmpty) {
  for (const char* shown : {"true", "1", "-0.5", "10", "0.01e5", "\"x\"", "\"0\"", "[0]", "{\"a\":null}"}) {
    EXPECT_EQ(Text("{{#S}}yes{{/S}}", std::string("{\"S\":") + shown + "}"), "yes") << shown;
  }
  for (const char* hidden : {"false", "null", "0", "-0", "0.00", "0e5", "\"\"", "[]", "{}"}) {
    EXPECT_EQ(Text("{{#S}}yes{{/S}}", std::string("{\"S\":") + hidden + "}"), "") << hidden;
  }
  EXPECT_EQ(Text("{{#S}}{{S}}{{/S}}", R"({"S":"value"})"), "value") << "the idiom for an optional value";
}

TEST(Renderer, ManyMembersAreFoundToo) {
  std::string data = "{";
  for (int i = 0; i < 1000; ++i) data += "\"k" + std::to_string(i * 7 % 1000) + "\":" + std::to_string(i) + ",";
  data += "\"k5\":\"last\"}";
  EXPECT_EQ(Text("{{k0}} {{k7}} {{k999}} {{k5}}", data), "0 1 857 last");
  EXPECT_EQ(Text("{{k1000}}", data), "failed: /k1000 is not in data");
}

TEST(Renderer, PartialsSeeTheValuesAroundThem) {
  TemplateFiles files;
  files.Add("t/text.tpl", "{{#I}}{{>line}}{{/I}}\n{{>foot}}\nend\n");
  files.Add("_partials/line.tpl", "<{{n}} {{Shop}}>").Add("_partials/foot.tpl", "{{Shop}} {{>sub-1.x}}\n");
  files.Add("_partials/sub-1.x.tpl", "sub {{Shop}}");
  EXPECT_EQ(Render(CtemplateRenderer(files.directory(), true), "t", R"({"I":[{"n":1},{"n":2}],"Shop":"US"})").text,
            "<1 US><2 US>\nUS sub US\nend\n");
}

TEST(Renderer, MarkersAloneOnTheirLineLeaveNoEmptyLine) {
  EXPECT_EQ(Text("a\n{{#S}}\nb\n  {{/S}}  \nc\n{{! a\ncomment }}\nd\n", R"({"S":1})"), "a\nb\nc\nd\n");
  EXPECT_EQ(Text("a {{#S}}\nb\n{{/S}} c", R"({"S":1})"), "a \nb\n c");
  EXPECT_EQ(Text("{{#S}}\r\nb\r\n{{/S}}", R"({"S":1})"), "b\n");
  EXPECT_EQ(Text("\n{{V}}\n\n{{V}}", R"({"V":1})"), "\n1\n\n1");
  EXPECT_EQ(Text("{{{V}}} { {{V}} }", R"({"V":1})"), "{1} { 1 }");
  EXPECT_EQ(Text("\xEF\xBB\xBFx", "{}"), "x");
  EXPECT_EQ(Text("a{{BI_NEWLINE}}b{{BI_SPACE}}c", "{}"), "a\nb c");
}

TEST(Escaping, HtmlIsEscapedWhereverAValueStands) {
  const std::string data = R"({"V":"<script>alert('x')</script> & \"q\""})";
  EXPECT_EQ(Html("<p>{{V}}</p>", data), "<p>&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt; &amp; &quot;q&quot;</p>");
  EXPECT_EQ(Html("<p title=\"{{V}}\">", data).find("<script"), std::string::npos);
  EXPECT_EQ(Html("<p title=\"{{V}}\">", data).find("\"q"), std::string::npos);
  EXPECT_EQ(Html("<p title={{V}}>", R"({"V":"x onclick=evil"})").find(' ', 9), std::string::npos);
  EXPECT_EQ(Html("<a href=\"https://x/?q={{V}}\">", R"({"V":"a\"b"})"), "<a href=\"https://x/?q=a&quot;b\">");
  EXPECT_EQ(Html("<a href=\"https://x/?q={{V:u}}\">", R"({"V":"a&b c"})"), "<a href=\"https://x/?q=a%26b+c\">");
  EXPECT_EQ(Html("<a href=\"{{V}}\" title=\"{{V}}\">{{V}}</a>", R"({"V":"https://x/?a=1&b=\"2\""})"),
            "<a href=\"https://x/?a=1&amp;b=&quot;2&quot;\" title=\"https://x/?a=1&amp;b=&quot;2&quot;\">"
            "https://x/?a=1&amp;b=&quot;2&quot;</a>");
  EXPECT_EQ(Html("<script>var x = {{V}};</script>", R"({"V":"alert`1`"})"), "<script>var x = null;</script>");
  EXPECT_EQ(Html("<b onclick=\"f({{V}})\">", R"({"V":"alert`1`"})"), "<b onclick=\"f(null)\">");
  EXPECT_EQ(Html("<b style=\"color:{{V}}\">", R"({"V":"red;x:(y)z"})"), "<b style=\"color:redxyz\">");
  EXPECT_EQ(Html("<script>var x = '{{V}}';</script>", R"({"V":"'; evil(); '"})").find("'; evil"), std::string::npos);
}

TEST(Escaping, AlsoInPartials) {
  TemplateFiles files;
  files.Add("t/html.tpl", "<a {{>attributes}}>{{>text}}</a>").Add("t/text.tpl", "{{>text}}");
  files.Add("_partials/attributes.tpl", "href=\"{{V}}\"").Add("_partials/text.tpl", "{{V}}");
  const Rendered rendered = Render(CtemplateRenderer(files.directory(), true), "t", R"({"V":"javascript:<b>"})");
  EXPECT_EQ(rendered.html, "<a href=\"#\">javascript:&lt;b&gt;</a>");
  EXPECT_EQ(rendered.text, "javascript:<b>");
}

TEST(Escaping, TextAndSubjectAreNot) {
  EXPECT_EQ(Text("{{V}}", R"({"V":"<b> & \"q\" 'x'"})"), "<b> & \"q\" 'x'");
  EXPECT_EQ(Subject("{{V}}\n", R"({"V":"<b> & \"q\""})").subject, "<b> & \"q\"");
}

TEST(Escaping, UrlSchemes) {
  auto link = [](const std::string& url) { return Html("<a href=\"{{V}}\">", "{\"V\":\"" + url + "\"}"); };
  for (const char* good :
       {"https://a.b/c?d=e#f", "http://a", "mailto:anna@example.org", "tel:+49-221-1", "cid:logo@mail", "HTTPS://A",
        "MailTo:x@y", "/path", "path/x:y", "?a:b", "#a:b", "", "//host/x", "page.html"}) {
    EXPECT_EQ(link(good), std::string("<a href=\"") + good + "\">");
  }
  for (const char* bad :
       {"javascript:alert(1)", "JavaScript:alert(1)", " javascript:alert(1)", "java\\tscript:alert(1)",
        "\\u0001javascript:x", "vbscript:x", "data:text/html,x", "file:///etc/passwd", "x-app:y", "javascript\\u0000:x",
        "httpsx:y", "http :x", ":x", "\\u00a0javascript:x"}) {
    const std::string html = link(bad);
    EXPECT_TRUE(html == "<a href=\"#\">" || html.starts_with("failed: ")) << bad << " became " << html;
  }
  EXPECT_EQ(Html("<img src=\"{{V}}\" alt=\"\">", R"({"V":"cid:logo"})"), "<img src=\"cid:logo\" alt=\"\">");
  EXPECT_EQ(Html("<img src=\"{{V}}\" alt=\"\">", R"({"V":"javascript:x"})"), "<img src=\"#\" alt=\"\">");
  EXPECT_EQ(Html("<img src='{{V}}' alt=''>", R"({"V":"cid:a'b"})"), "<img src='cid:a&#39;b' alt=''>");
  EXPECT_EQ(Html("<a href=\"mailto:{{V}}\">", R"({"V":"a@b"})"), "<a href=\"mailto:a@b\">");
  EXPECT_EQ(
      Html("{{#S}}<a href=\"{{V}}\">{{V}}</a>{{/S}}<a href=\"{{W}}{{V}}\">", R"({"S":1,"V":"tel:1","W":"cid:x"})"),
      "<a href=\"tel:1\">tel:1</a><a href=\"cid:xtel:1\">");
}

TEST(Escaping, AMissingUrlIsMissedByItsName) {
  EXPECT_EQ(Html("<a href=\"{{V}}\">", "{}"), "failed: /V is not in data");
}

TEST(Escaping, UrlsAreToldApartBehindSections) {
  // As many variables before the link as there are ways to be skipped when rendering.
  const char* html =
      "{{a}}{{#L}}{{b}}{{#L_separator}}{{c}}{{/L_separator}}{{/L}}{{BI_SPACE}}<a href=\"{{V}}\">{{a}}</a>";
  EXPECT_EQ(Html(html, R"({"a":"1","L":[{"b":"x:"},{"b":"y:"}],"c":"-","V":"tel:1"})"),
            "1x:-y: <a href=\"tel:1\">1</a>");
}

TEST(Renderer, Subjects) {
  EXPECT_EQ(Subject("  Hello {{N}} \n\n", R"({"N":"Ann"})").subject, "  Hello Ann");
  EXPECT_EQ(Subject("{{! comment }}\nHello\n", "{}").subject, "Hello");
  for (const char* value : {"a\\nb", "a\\rb", "\\r\\nBcc: x@y"}) {
    const Rendered rendered = Subject("Hello {{N}}", std::string("{\"N\":\"") + value + "\"}");
    EXPECT_EQ(rendered.result, POSTBUS_RENDER_INVALID_DATA);
    EXPECT_EQ(rendered.error, "a value in the subject has a line break in it");
    EXPECT_EQ(rendered.subject, "");
  }
}

TEST(Renderer, PartsMayBeMissing) {
  TemplateFiles files;
  files.Add("text-only/text.tpl", "t").Add("html-only/html.tpl", "h").Add("html-only/subject.tpl", "s");
  const CtemplateRenderer renderer(files.directory(), true);
  const Rendered text = Render(renderer, "text-only", "{}");
  EXPECT_EQ(text.subject + "|" + text.text + "|" + text.html, "|t|");
  const Rendered html = Render(renderer, "html-only", "{}");
  EXPECT_EQ(html.subject + "|" + html.text + "|" + html.html, "s||h");
}

TEST(Data, IsAJsonObjectOfBoundedDepth) {
  for (const char* bad : {"", "[]", "null", "1", "\"x\"", "{", "{}x", "{} {}", "{\"a\":}", "{\"a\":1,}", "{'a':1}",
                          "{\"a\":NaN}", "{\"a\":01}", "{\"a\":\"\xFF\"}", "{\"a\":\"\\ud800\"}", "{\"a\":\"\n\"}"}) {
    const Rendered rendered = RenderText("x", bad);
    EXPECT_EQ(rendered.result, POSTBUS_RENDER_INVALID_DATA) << bad;
    EXPECT_EQ(rendered.error.substr(0, 8), "data is ") << bad;
    EXPECT_EQ(rendered.text, "");
  }
  auto nested = [](size_t depth, const char* open, const char* close) {
    std::string data = "{\"a\":";
    for (size_t i = 1; i < depth; ++i) data += open;
    data += "1";
    for (size_t i = 1; i < depth; ++i) data += close;
    return data + "}";
  };
  EXPECT_EQ(RenderText("x", nested(32, "[", "]")).result, POSTBUS_RENDER_OK);
  EXPECT_EQ(RenderText("x", nested(33, "[", "]")).error, "data is nested deeper than 32 levels");
  EXPECT_EQ(RenderText("x", nested(33, "{\"a\":", "}")).error, "data is nested deeper than 32 levels");
  EXPECT_EQ(RenderText("x", std::string("{\"a\":") + std::string(1'000'000, '[')).error,
            "data is nested deeper than 32 levels");
}

TEST(Data, HasNoNul) {
  EXPECT_EQ(RenderText("{{a}}", R"({"a":"x\u0000y"})").error, "a text in data has a NUL character in it");
  EXPECT_EQ(RenderText("x", std::string_view("{\"a\":1}\0{}", 10)).result, POSTBUS_RENDER_INVALID_DATA);
  EXPECT_EQ(RenderText("x", std::string_view("{\"a\":\"\0\"}", 9)).result, POSTBUS_RENDER_INVALID_DATA);
}

TEST(Data, OfTheWrongType) {
  EXPECT_EQ(RenderText("{{a}}", R"({"a":{"b":1}})").result, POSTBUS_RENDER_INVALID_DATA);
  EXPECT_EQ(RenderText("{{a}}", R"({"a":{"b":1}})").error,
            "/a is an object where the template needs a text or a number");
  EXPECT_EQ(RenderText("{{#l}}{{a}}{{/l}}", R"({"l":[{"a":[1]}]})").error,
            "/l/0/a is a list where the template needs a text or a number");
  EXPECT_EQ(RenderText("{{#l}}{{ITEM}}{{/l}}", R"({"l":[1,{"a":1}]})").error,
            "/l/1 is an object where the template needs a text or a number");
}

TEST(Data, CannotMakeRenderingEndless) {
  std::string list = "[0";
  for (int i = 0; i < 3000; ++i) list += ",0";
  list += "]";
  const Rendered steps = RenderText("{{#a}}{{#a}}{{#a}}{{/a}}{{/a}}{{/a}}", "{\"a\":" + list + "}");
  EXPECT_EQ(steps.result, POSTBUS_RENDER_FAILED);
  EXPECT_EQ(steps.error, "the lists in data are too long for the template's nested sections");
  const Rendered size = RenderText("{{#a}}{{#a}}" + std::string(1000, 'x') + "{{/a}}{{/a}}", "{\"a\":" + list + "}");
  EXPECT_EQ(size.error, "the mail would be larger than 16 MiB");
  EXPECT_EQ(size.text, "");
}

TEST(Renderer, IsReentrantAndPure) {
  const CtemplateRenderer renderer(kShippedTemplates, true);
  const std::vector<std::string> names = renderer.List();
  std::vector<Rendered> expected;
  std::vector<std::string> samples;
  for (const std::string& name : names) {
    samples.push_back(ReadSample(name));
    expected.push_back(Render(renderer, name, samples.back()));
  }
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (size_t t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (size_t i = 0; i < 300; ++i) {
        const size_t which = (i + t) % names.size();
        const Rendered rendered = Render(renderer, names[which], samples[which]);
        if (rendered.html != expected[which].html || rendered.text != expected[which].text ||
            rendered.subject != expected[which].subject) {
          ++wrong;
        }
      }
    });
  }
  // A reload while others render.
  for (int i = 0; i < 5; ++i) EXPECT_EQ(CtemplateRenderer(kShippedTemplates, true).List(), names);
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
}

}  // namespace
}  // namespace postbus::templates
