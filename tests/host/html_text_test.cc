#include "host/html_text.h"

#include <gtest/gtest.h>

namespace postbus {
namespace {

std::string Text(std::string_view html) {
  std::string text = "something from before";
  HtmlToText(html, text);
  return text;
}

TEST(HtmlText, ParagraphsAndLines) {
  EXPECT_EQ(Text("<h1>Hello</h1><p>One\n  two</p><p>three<br>four<br><br>five</p>"),
            "Hello\n\nOne two\n\nthree\nfour\n\nfive\n");
  EXPECT_EQ(Text("<div><div>a</div></div><div>b</div>c"), "a\nb\nc\n");
  EXPECT_EQ(Text("just words"), "just words\n");
  EXPECT_EQ(Text("<b>a</b><i>b</i> <u>c</u>"), "ab c\n");
}

TEST(HtmlText, NothingToRead) {
  for (const std::string_view html :
       {"", " \n", "<p></p>", "<img src='x'>", "<!-- a -->", "<html><head><title>t</title></head></html>"}) {
    EXPECT_EQ(Text(html), "") << html;
  }
}

TEST(HtmlText, Entities) {
  EXPECT_EQ(Text("<p>Gr&uuml;&szlig;e &amp; &lt;b&gt; &#8364; &#x1F600;&nbsp;x &copy;</p>"), "Grüße & <b> € 😀 x ©\n");
  EXPECT_EQ(Text("<meta charset=iso-8859-1><p>ü日</p>"), "ü日\n") << "it is UTF-8, whatever it says";
}

TEST(HtmlText, Links) {
  EXPECT_EQ(Text("<a href='https://x.example/a?b=1&amp;c=2'>Your order</a>."),
            "Your order (https://x.example/a?b=1&c=2).\n");
  EXPECT_EQ(Text("<a href='https://x.example'>https://x.example</a>"), "https://x.example\n");
  EXPECT_EQ(Text("<a href='https://x.example'>x.example</a>"), "x.example\n");
  EXPECT_EQ(Text("<a href='mailto:a@b.example'>a@b.example</a> or <a href='tel:+49 1'>call</a>"),
            "a@b.example or call (+491)\n");
  EXPECT_EQ(Text("a <a href='#top'>top</a> <a href=' JavaScript:x()'>js</a> <a>none</a>"), "a top js none\n");
  EXPECT_EQ(Text("<a href=' https://x.example/\n A '>x</a>"), "x (https://x.example/A)\n");
  EXPECT_EQ(Text("<a href='https://x.example/'><img src='cid:l' alt='Shop'></a> <a href='https://y.example/'><img "
                 "src='y'></a>"),
            "Shop (https://x.example/) https://y.example/\n");
}

TEST(HtmlText, Lists) {
  EXPECT_EQ(Text("<p>Two:</p><ul><li>one<li>two<ul><li>deep</li></ul></ul><ol><li>a</li><li>b<p>c</p></li></ol>end"),
            "Two:\n\n- one\n- two\n  - deep\n\n1. a\n2. b\n\n   c\n\nend\n");
}

TEST(HtmlText, Tables) {
  EXPECT_EQ(
      Text("<table><tr><th>Item</th><th>Price</th></tr><tr><td>Shirt</td>\n<td></td><td>&euro; 30</td></tr></table>"),
      "Item | Price\nShirt | € 30\n");
  EXPECT_EQ(Text("<table><tr><td><table><tr><td><p>a</p></td></tr></table></td><td><p>b</p></td></tr></table>"),
            "a\n\nb\n")
      << "layout";
}

TEST(HtmlText, WhatIsNotShown) {
  EXPECT_EQ(Text("<style>p{}</style><script>alert('<p>x</p>')</script><p>a</p><template>b</template><svg><text>c</"
                 "text></svg>"),
            "a\n");
  EXPECT_EQ(Text("<div style='color:red;  DISPLAY : none'>pre<p>header</p></div><p hidden>x</p><p>a</p>"), "a\n");
  EXPECT_EQ(Text("<!--[if mso]><p>outlook</p><![endif]--><p>a</p>"), "a\n");
}

TEST(HtmlText, QuotesAndPreformatted) {
  EXPECT_EQ(Text("<blockquote>a<br>b<p>c</p></blockquote>d"), "> a\n> b\n\n> c\n\nd\n");
  EXPECT_EQ(Text("<pre>a\n  b\n\nc</pre><hr>d"), "a\n  b\n\nc\n\n----------\n\nd\n");
}

TEST(HtmlText, AnyBytesInLinearTime) {
  for (const std::string_view part : {"<div>", "<b><i>", "<table><tr><td>", "</x>", "<a href=x>", "<ul><li>", "&nbsp;",
                                      "<p", "<p title=\"", "<!--", "<br>", "\xFF", "<blockquote>", "&#0;"}) {
    std::string html = "<p>seen</p>";
    while (html.size() < 300'000) html += part;
    const std::string text = Text(html);
    EXPECT_TRUE(text.starts_with("seen")) << part;
    EXPECT_LE(text.size(), 2 * html.size()) << part;
  }
  EXPECT_EQ(Text(std::string("a\0b", 3)).substr(0, 1), "a");
}

TEST(HtmlText, WhatIsTooDeepIsLeftOut) {
  std::string html = "<p>seen</p>";
  for (int i = 0; i < 117; ++i) html += "<div>";
  EXPECT_NE(Text(html + "inside").find("inside"), std::string::npos);
  EXPECT_EQ(Text(html + "<div><div>too deep</div></div>after"), "seen\n");
}

}  // namespace
}  // namespace postbus
