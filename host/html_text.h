// host/html_text.h - the plain text of an HTML mail, for readers that show no HTML. Paragraphs and headings are set
// apart, list items marked, cells of a row joined by " | ", links become `text (url)`, images their alt text; scripts,
// styles and what is not displayed (preheaders) are left out. The same HTML gives the same text. Any thread.
#pragma once

#include <string>
#include <string_view>

namespace postbus {

// Replaces `out`; empty if there is nothing to read. Any bytes may come, of any size and depth: time and memory are
// linear in the size, and what is nested deeper than 120 elements is left out with all that follows.
void HtmlToText(std::string_view html, std::string& out);

}  // namespace postbus
