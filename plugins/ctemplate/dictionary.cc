#include "dictionary.h"

#include <ctemplate/template_modifiers.h>
#include <rapidjson/error/en.h>
#include <rapidjson/memorystream.h>
#include <rapidjson/reader.h>

#include <algorithm>
#include <array>
#include <utility>
#include <vector>

#include "postbus/abi/renderer.h"
#include "template_source.h"

namespace postbus::templates {
namespace {

using ctemplate::TemplateString;

constexpr size_t kMaxDepth = 32;
constexpr size_t kFewMembers = 8;  // a search from the end is as fast as a binary one
constexpr size_t kMaxPartBytes = 16 << 20;
constexpr std::string_view kItem = "ITEM";  // an item of a list, in its section

std::string_view View(const TemplateString& text) { return {text.data(), text.size()}; }
TemplateString Of(std::string_view text) { return {text.data(), text.size()}; }

std::string_view Copy(std::string_view text, std::pmr::memory_resource& arena) {
  if (text.empty()) return "";
  char* const copy = static_cast<char*>(arena.allocate(text.size(), 1));
  std::copy_n(text.data(), text.size(), copy);
  return {copy, text.size()};
}

// No scheme, or one of those a mail has use for. Tricks like " javascript:" and "java\tscript:" are none of them.
bool IsSafeUrl(std::string_view url) {
  const size_t colon = url.find_first_of(":/?#");
  if (colon == std::string_view::npos || url[colon] != ':') return true;
  constexpr std::array<std::string_view, 5> kSchemes = {"https", "http", "mailto", "tel", "cid"};
  const std::string_view scheme = url.substr(0, colon);
  return std::any_of(kSchemes.begin(), kSchemes.end(), [&](std::string_view known) {
    return std::equal(scheme.begin(), scheme.end(), known.begin(), known.end(),
                      [](char a, char b) { return (a >= 'A' && a <= 'Z' ? a + ('a' - 'A') : a) == b; });
  });
}

// `url` as the beginning of a URL attribute. ctemplate's own way lets only http, https and ftp pass: `mailto:` and
// `tel:` links become "#" and inline images (`cid:`) an image it expects on the web server.
std::string_view UrlText(std::string_view url, std::pmr::memory_resource& arena) {
  if (!IsSafeUrl(url)) return "#";
  return Copy(ctemplate::html_escape(url.data(), url.size()), arena);
}

// Builds values bottom-up on a stack: what belongs to a container lies above it.
class Builder : public rapidjson::BaseReaderHandler<rapidjson::UTF8<>, Builder> {
 public:
  explicit Builder(std::pmr::monotonic_buffer_resource& arena) : arena_(arena), stack_(&arena) {}

  bool Null() { return Add({.name = name_}); }
  bool Bool(bool b) {
    return Add({.name = name_,
                .type = b ? Value::Type::kTrue : Value::Type::kFalse,
                .text = b ? std::string_view("true") : std::string_view("false")});
  }
  bool RawNumber(const char* text, rapidjson::SizeType size, bool) {
    return Add({.name = name_, .type = Value::Type::kNumber, .text = Copy({text, size}, arena_)});
  }
  bool String(const char* text, rapidjson::SizeType size, bool) {
    const std::string_view view(text, size);
    if (view.find('\0') != std::string_view::npos) {
      problem_ = "a text in data has a NUL character in it";
      return false;
    }
    return Add({.name = name_, .type = Value::Type::kString, .text = Copy(view, arena_)});
  }
  bool Key(const char* text, rapidjson::SizeType size, bool) {
    name_ = Copy({text, size}, arena_);
    return true;
  }
  bool StartObject() { return Start(Value::Type::kObject); }
  bool StartArray() { return Start(Value::Type::kArray); }
  bool EndArray(rapidjson::SizeType n) {
    End(n);
    return true;
  }
  bool EndObject(rapidjson::SizeType n) {
    const std::span<Value> members = End(n);
    if (n > kFewMembers) {
      std::stable_sort(members.begin(), members.end(), [](const Value& a, const Value& b) { return a.name < b.name; });
    }
    return true;
  }

  const Value& root() const { return stack_.front(); }
  const char* problem() const { return problem_; }

 private:
  bool Add(Value value) {
    if (depth_ == 0) {
      problem_ = "data is not a JSON object";
      return false;
    }
    stack_.push_back(value);
    name_ = {};
    return true;
  }

  bool Start(Value::Type type) {
    if (depth_ == 0 && type != Value::Type::kObject) {
      problem_ = "data is not a JSON object";
      return false;
    }
    if (depth_ == kMaxDepth) {
      problem_ = "data is nested deeper than 32 levels";
      return false;
    }
    ++depth_;
    stack_.push_back({.name = name_, .type = type});
    name_ = {};
    return true;
  }

  std::span<Value> End(size_t n) {
    --depth_;
    Value* const items = static_cast<Value*>(arena_.allocate(std::max<size_t>(n, 1) * sizeof(Value), alignof(Value)));
    const auto first = stack_.end() - static_cast<std::ptrdiff_t>(n);
    std::uninitialized_copy(first, stack_.end(), items);
    stack_.erase(first, stack_.end());
    stack_.back().items = {items, n};
    return {items, n};
  }

  std::pmr::monotonic_buffer_resource& arena_;
  std::pmr::vector<Value> stack_;
  std::string_view name_;  // of the value to come
  size_t depth_ = 0;
  const char* problem_ = nullptr;
};

}  // namespace

const Value* Value::Find(std::string_view member) const {
  if (type != Type::kObject) return nullptr;
  if (items.size() <= kFewMembers) {
    const auto found =
        std::find_if(items.rbegin(), items.rend(), [&](const Value& item) { return item.name == member; });
    return found == items.rend() ? nullptr : &*found;
  }
  const auto behind = std::upper_bound(items.begin(), items.end(), member,
                                       [](std::string_view wanted, const Value& item) { return wanted < item.name; });
  return behind != items.begin() && (behind - 1)->name == member ? &*(behind - 1) : nullptr;
}

bool Value::IsShown() const {
  switch (type) {
    case Type::kNull:
    case Type::kFalse:
      return false;
    case Type::kTrue:
      return true;
    case Type::kNumber:  // zero in any spelling has no other digit before its exponent
      return text.substr(0, text.find_first_of("eE")).find_first_of("123456789") != std::string_view::npos;
    case Type::kString:
      return !text.empty();
    case Type::kArray:
    case Type::kObject:
      return !items.empty();
  }
  return false;
}

bool Data::Parse(std::string_view json, std::string& error) {
  Builder builder(arena_);
  rapidjson::Reader reader;
  rapidjson::MemoryStream stream(json.data(), json.size());
  constexpr unsigned kFlags =
      rapidjson::kParseIterativeFlag | rapidjson::kParseNumbersAsStringsFlag | rapidjson::kParseValidateEncodingFlag;
  const rapidjson::ParseResult result = reader.Parse<kFlags>(stream, builder);
  if (builder.problem() != nullptr) {
    error = builder.problem();
    return false;
  }
  if (!result || stream.Tell() != json.size()) {
    error = std::string("data is not JSON: ") + (result ? "There is a NUL in it." : GetParseError_En(result.Code())) +
            " (byte " + std::to_string(result ? stream.Tell() : result.Offset()) + ")";
    return false;
  }
  root_ = builder.root();
  return true;
}

void Expansion::Fail(int32_t failure, std::string sentence) {
  if (failed()) return;
  result = failure;
  error = std::move(sentence);
}

bool Expansion::Step() {
  if (failed()) return false;
  if (steps_left > 0) {
    --steps_left;
    return true;
  }
  Fail(POSTBUS_RENDER_FAILED, "the lists in data are too long for the template's nested sections");
  return false;
}

// Goes through the items of one section, or through an object as if it were a list of itself.
class Scope::Items final : public ctemplate::TemplateDictionaryInterface::Iterator {
 public:
  Items(const Value& value, const Scope& owner, const Scope& around)
      : items_(value.type == Value::Type::kArray ? value.items : std::span<const Value>(&value, 1)),
        is_list_(value.type == Value::Type::kArray),
        current_(value, value.name, owner, around) {}

  bool HasNext() const override { return next_ < items_.size() && !current_.expansion_->failed(); }
  const TemplateDictionaryInterface& Next() override {
    current_.expansion_->Step();
    current_.value_ = &items_[next_];
    if (is_list_) current_.index_ = next_;
    ++next_;
    return current_;
  }

 private:
  std::span<const Value> items_;
  bool is_list_;
  Scope current_;
  size_t next_ = 0;
};

const Value* Scope::Find(std::string_view name, const Scope*& owner) const {
  if (!expansion_->Step()) return nullptr;
  for (const Scope* scope = this; scope != nullptr; scope = scope->around_) {
    const Value* value = scope->value_->Find(name);
    if (value == nullptr && scope->index_ != kNoIndex && name == kItem) value = scope->value_;
    if (value != nullptr && value->type != Value::Type::kNull) {
      owner = scope;
      return value;
    }
  }
  return nullptr;
}

bool Scope::IsShown(std::string_view name) const {
  const Scope* owner = nullptr;
  const Value* value = Find(name, owner);
  return value != nullptr && value->IsShown();
}

std::string Scope::Pointer() const {
  if (owner_ == nullptr) return "";
  std::string pointer = owner_->Pointer();
  if (!name_.empty()) pointer.append("/").append(name_);
  if (index_ != kNoIndex) pointer.append("/").append(std::to_string(index_));
  return pointer;
}

TemplateString Scope::GetValue(const TemplateString& variable) const {
  std::string_view name = View(variable);
  const bool begins_url = name.starts_with(kUrlPrefix);
  if (begins_url) name.remove_prefix(kUrlPrefix.size());
  const Scope* owner = nullptr;
  const Value* value = Find(name, owner);
  if (value == nullptr) {
    if (name == "BI_SPACE") return Of(" ");
    if (name == "BI_NEWLINE") return Of("\n");
    if (expansion_->strict) {
      expansion_->Fail(POSTBUS_RENDER_MISSING_VARIABLE, Pointer().append("/").append(name) + " is not in data");
    }
    return Of("");
  }
  if (value->type == Value::Type::kArray || value->type == Value::Type::kObject) {
    std::string pointer = owner->Pointer();
    if (value != owner->value_) pointer.append("/").append(name);
    const char* const what = value->type == Value::Type::kArray ? "a list" : "an object";
    expansion_->Fail(POSTBUS_RENDER_INVALID_DATA,
                     pointer + " is " + what + " where the template needs a text or a number");
    return Of("");
  }
  return Of(begins_url ? UrlText(value->text, expansion_->arena) : value->text);
}

bool Scope::IsHiddenSection(const TemplateString& name) const { return !IsShown(View(name)); }
bool Scope::IsUnhiddenSection(const TemplateString& name) const { return IsShown(View(name)); }

Scope::Iterator* Scope::CreateSectionIterator(const TemplateString& section) const {
  static constexpr Value kNothing{.type = Value::Type::kArray};
  const Scope* owner = nullptr;
  const Value* value = Find(View(section), owner);
  const bool opens = value != nullptr && (value->type == Value::Type::kArray || value->type == Value::Type::kObject);
  // Without an item ctemplate shows the section once, with this scope: right for a true, a text or a number.
  return opens ? new Items(*value, *owner, *this) : new Items(kNothing, *this, *this);
}

void Scope::DumpToString(std::string*, int) const {}
bool Scope::IsHiddenTemplate(const TemplateString&) const { return true; }
const char* Scope::GetIncludeTemplateName(const TemplateString&, int) const { return ""; }
Scope::Iterator* Scope::CreateTemplateIterator(const TemplateString& section) const {
  return CreateSectionIterator(section);
}

void Output::Emit(const char* s, size_t size) {
  if (expansion_.failed()) return;
  if (text_.size() + size > kMaxPartBytes) {
    expansion_.Fail(POSTBUS_RENDER_FAILED, "the mail would be larger than 16 MiB");
    return;
  }
  text_.append(s, size);
}

}  // namespace postbus::templates
