#include "host/html_text.h"

#include <libxml/HTMLparser.h>
#include <libxml/parser.h>

#include <algorithm>
#include <climits>
#include <vector>

namespace postbus {
namespace {

constexpr int kMaxDepth = 120;  // libxml2 searches the open elements for each end tag

// How an element stands in the text.
struct Style {
  std::string_view name;
  int breaks;  // line breaks before and after it, at the least
  bool hidden = false;
};

constexpr Style kStyles[] = {
    {"p", 2},
    {"h1", 2},
    {"h2", 2},
    {"h3", 2},
    {"h4", 2},
    {"h5", 2},
    {"h6", 2},
    {"pre", 2},
    {"hr", 2},
    {"blockquote", 2},
    {"ul", 2},
    {"ol", 2},
    {"dl", 2},
    {"figure", 2},
    {"table", 1},
    {"tr", 1},
    {"caption", 1},
    {"div", 1},
    {"li", 1},
    {"dt", 1},
    {"dd", 1},
    {"center", 1},
    {"section", 1},
    {"article", 1},
    {"header", 1},
    {"footer", 1},
    {"main", 1},
    {"nav", 1},
    {"aside", 1},
    {"address", 1},
    {"form", 1},
    {"fieldset", 1},
    {"figcaption", 1},
    {"script", 0, true},
    {"style", 0, true},
    {"title", 0, true},
    {"head", 0, true},
    {"template", 0, true},
    {"svg", 0, true},
    {"select", 0, true},
    {"textarea", 0, true},
    {"object", 0, true},
};

Style StyleOf(std::string_view name) {
  const auto found =
      std::find_if(std::begin(kStyles), std::end(kStyles), [&](const Style& s) { return s.name == name; });
  return found == std::end(kStyles) ? Style{name, 0} : *found;
}

// The value without white space and control characters, in lower case where it is ASCII.
std::string Squeezed(std::string_view value) {
  std::string squeezed;
  for (const char c : value) {
    if (static_cast<unsigned char>(c) > ' ' && c != '\x7F') {
      squeezed += c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : c;
    }
  }
  return squeezed;
}

// Attributes as libxml2 gives them: name, value (or null), …, null.
std::string_view Attribute(const xmlChar** attributes, std::string_view name) {
  for (; attributes != nullptr && *attributes != nullptr; attributes += 2) {
    if (reinterpret_cast<const char*>(attributes[0]) != name) continue;
    return attributes[1] == nullptr ? name : std::string_view(reinterpret_cast<const char*>(attributes[1]));
  }
  return {};
}

bool IsHidden(const xmlChar** attributes) {
  if (!Attribute(attributes, "hidden").empty()) return true;
  const std::string_view style = Attribute(attributes, "style");
  return !style.empty() && Squeezed(style).find("display:none") != std::string::npos;
}

// Takes the events of the parser and writes the text.
class Writer {
 public:
  explicit Writer(std::string& out) : out_(out) {}

  // False: too deep.
  bool Start(std::string_view name, const xmlChar** attributes) {
    if (++depth_ > kMaxDepth) return false;
    if (hidden_at_ != 0) return true;
    const Style style = StyleOf(name);
    if (style.hidden || IsHidden(attributes)) {
      hidden_at_ = depth_;
      return true;
    }
    const bool is_list = name == "ul" || name == "ol";
    Break(is_list && !lists_.empty() ? 1 : style.breaks);
    if (name == "br") {
      breaks_ = std::min(2, breaks_ + 1);
    } else if (name == "hr") {
      Put("----------");
      Break(2);
    } else if (name == "img") {
      Write(Attribute(attributes, "alt"));
    } else if (name == "pre") {
      ++pre_;
    } else if (name == "blockquote") {
      boxes_.push_back({depth_, "> ", false});
    } else if (is_list) {
      lists_.push_back({name == "ol", 0});
    } else if (name == "li") {
      const bool numbered = !lists_.empty() && lists_.back().numbered;
      if (numbered) ++lists_.back().count;
      boxes_.push_back({depth_, numbered ? std::to_string(lists_.back().count) + ". " : "- ", true});
    } else if (name == "tr") {
      row_start_ = out_.size();
    } else if (name == "td" || name == "th") {
      new_cell_ = out_.size() > row_start_;
    } else if (name == "a") {
      links_.push_back({depth_, std::string(Attribute(attributes, "href")), out_.size()});
    }
    return true;
  }

  void End(std::string_view name) {
    if (hidden_at_ == 0) {
      if (!links_.empty() && links_.back().depth == depth_) EndLink();
      if (!boxes_.empty() && boxes_.back().depth == depth_) boxes_.pop_back();
      const bool is_list = name == "ul" || name == "ol";
      if (is_list && !lists_.empty()) lists_.pop_back();
      if (name == "pre" && pre_ > 0) --pre_;
      Break(is_list && !lists_.empty() ? 1 : StyleOf(name).breaks);
    }
    if (hidden_at_ == depth_) hidden_at_ = 0;
    --depth_;
  }

  void Write(std::string_view text) {
    if (hidden_at_ != 0) return;
    while (!text.empty()) {
      constexpr std::string_view kNoBreakSpace = "\xC2\xA0";
      const char c = text.front();
      if (text.starts_with(kNoBreakSpace)) {
        space_ = true;
        text.remove_prefix(kNoBreakSpace.size());
      } else if (c == '\n' && pre_ > 0) {
        breaks_ = std::min(2, breaks_ + 1);
        text.remove_prefix(1);
      } else if (c == ' ' && pre_ > 0) {
        Put(" ");
        text.remove_prefix(1);
      } else if (static_cast<unsigned char>(c) <= ' ' || c == '\x7F') {
        space_ = true;
        text.remove_prefix(1);
      } else {
        const auto end = std::find_if(text.begin() + 1, text.end(), [](char other) {
          return static_cast<unsigned char>(other) <= ' ' || other == '\x7F' || other == '\xC2';
        });
        const auto size = static_cast<size_t>(end - text.begin());
        Put(text.substr(0, size));
        text.remove_prefix(size);
      }
    }
  }

  void Finish() {
    if (!out_.empty()) out_ += '\n';
  }

 private:
  // A list item or a quotation: what its lines begin with.
  struct Box {
    int depth;
    std::string mark;
    bool once;  // later lines are indented as far
  };
  struct List {
    bool numbered;
    int count;
  };
  struct Link {
    int depth;
    std::string href;
    size_t start;
  };

  void Break(int breaks) {
    breaks_ = std::max(breaks_, breaks);
    if (breaks > 0) space_ = false;
  }

  // Writes `text`, which is not blank, behind what is due before it.
  void Put(std::string_view text) {
    const bool at_start = out_.empty();
    if (at_start || breaks_ > 0) {
      if (!at_start) out_.append(static_cast<size_t>(breaks_), '\n');
      for (Box& box : boxes_) {
        out_ += box.mark;
        if (box.once) box = {box.depth, std::string(box.mark.size(), ' '), false};
      }
    } else if (new_cell_) {
      out_ += " | ";
    } else if (space_) {
      out_ += ' ';
    }
    breaks_ = 0;
    space_ = false;
    new_cell_ = false;
    out_ += text;
  }

  void EndLink() {
    const Link link = std::move(links_.back());
    links_.pop_back();
    const std::string scheme = Squeezed(link.href);
    const bool is_mail = scheme.starts_with("mailto:") || scheme.starts_with("tel:");
    if (!is_mail && !scheme.starts_with("https:") && !scheme.starts_with("http:")) return;
    std::string url;
    std::copy_if(link.href.begin(), link.href.end(), std::back_inserter(url),
                 [](char c) { return static_cast<unsigned char>(c) > ' ' && c != '\x7F'; });
    if (is_mail) url.erase(0, url.find(':') + 1);
    std::string_view text = std::string_view(out_).substr(std::min(link.start, out_.size()));
    while (!text.empty() && (text.front() == ' ' || text.front() == '\n')) text.remove_prefix(1);
    if (text == url || (!text.empty() && url.ends_with("//" + std::string(text))) || url.empty()) return;
    space_ = true;
    Put(text.empty() ? url : "(" + url + ")");
  }

  std::string& out_;
  int depth_ = 0;
  int hidden_at_ = 0;  // the depth of the element that is not shown; 0: none
  int pre_ = 0;
  int breaks_ = 0;  // due before the next word
  bool space_ = false;
  bool new_cell_ = false;
  size_t row_start_ = 0;
  std::vector<Box> boxes_;
  std::vector<List> lists_;
  std::vector<Link> links_;
};

struct Parsing {
  htmlParserCtxtPtr context;
  Writer writer;
};

std::string_view View(const xmlChar* text) { return reinterpret_cast<const char*>(text); }

void OnStart(void* data, const xmlChar* name, const xmlChar** attributes) {
  auto& parsing = *static_cast<Parsing*>(data);
  if (!parsing.writer.Start(View(name), attributes)) xmlStopParser(parsing.context);
}

void OnEnd(void* data, const xmlChar* name) { static_cast<Parsing*>(data)->writer.End(View(name)); }

void OnText(void* data, const xmlChar* text, int size) {
  static_cast<Parsing*>(data)->writer.Write({reinterpret_cast<const char*>(text), static_cast<size_t>(size)});
}

}  // namespace

void HtmlToText(std::string_view html, std::string& out) {
  [[maybe_unused]] static const bool kInitialized = (xmlInitParser(), true);
  out.clear();
  if (html.size() > INT_MAX) return;
  const htmlParserCtxtPtr context = htmlNewParserCtxt();
  if (context == nullptr) return;
  Parsing parsing{context, Writer(out)};
  *context->sax = {};
  context->sax->startElement = OnStart;
  context->sax->endElement = OnEnd;
  context->sax->characters = OnText;
  context->sax->ignorableWhitespace = OnText;
  context->userData = &parsing;
  htmlDocPtr document = htmlCtxtReadMemory(
      context, html.data(), static_cast<int>(html.size()), nullptr, "UTF-8",
      HTML_PARSE_RECOVER | HTML_PARSE_NOERROR | HTML_PARSE_NOWARNING | HTML_PARSE_NONET | HTML_PARSE_IGNORE_ENC);
  if (document != nullptr) xmlFreeDoc(document);
  htmlFreeParserCtxt(context);
  parsing.writer.Finish();
}

}  // namespace postbus
