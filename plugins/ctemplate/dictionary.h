// plugins/ctemplate/dictionary.h - the data of one mail as ctemplate asks for it. Not ctemplate's TemplateDictionary:
// that one keeps every name it ever saw in a process-wide table under a lock, and cannot say that a value was missing.
#pragma once

#include <ctemplate/template_dictionary_interface.h>
#include <ctemplate/template_emitter.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory_resource>
#include <span>
#include <string>
#include <string_view>

namespace postbus::templates {

// A JSON value. Its text lives in the Data it belongs to.
struct Value {
  enum class Type : uint8_t { kNull, kFalse, kTrue, kNumber, kString, kArray, kObject };
  std::string_view name = {};  // of an object's member
  Type type = Type::kNull;
  std::string_view text = {};         // what a variable prints; numbers as they stand in the JSON
  std::span<const Value> items = {};  // of an array; members of an object, sorted by name if there are many

  // The member, or nullptr. Of several with one name the last counts.
  const Value* Find(std::string_view member) const;
  // Neither false nor empty: null, false, 0, "", [] and {} are. What decides whether a section is shown.
  bool IsShown() const;
};

// A parsed JSON object. One thread; values are valid as long as it.
class Data {
 public:
  Data() : arena_(buffer_.data(), buffer_.size()) {}
  Data(const Data&) = delete;
  Data& operator=(const Data&) = delete;

  // False: `error` is a sentence. Depth is bounded, and the parser does not recurse.
  bool Parse(std::string_view json, std::string& error);
  const Value& root() const { return root_; }
  std::pmr::memory_resource& arena() { return arena_; }

 private:
  alignas(std::max_align_t) std::array<std::byte, 8192> buffer_;  // enough for most mails: no heap
  std::pmr::monotonic_buffer_resource arena_;
  Value root_;
};

// What the expansion of one part has come to. Once it has failed the rest is skipped as fast as ctemplate lets us.
struct Expansion {
  std::pmr::memory_resource& arena;  // for texts that are made on the way
  bool strict = true;
  int32_t result = 0;  // POSTBUS_RENDER_*
  std::string error = {};
  // Bounds what nested sections over long lists can cost. Counted down by lookups and items.
  size_t steps_left = 2'000'000;

  bool failed() const { return result != 0; }
  void Fail(int32_t failure, std::string sentence);
  // False once there is no step left.
  bool Step();
};

// Values by name, from the inside out: an item's fields, then those of what is around it, at last the root's.
class Scope final : public ctemplate::TemplateDictionaryInterface {
 public:
  // `expansion` must outlive the scope, as must the Data of `root`.
  Scope(const Value& root, Expansion& expansion) : value_(&root), expansion_(&expansion) {}

 private:
  class Items;

  static constexpr size_t kNoIndex = SIZE_MAX;

  // What member `name` of `owner` opens, seen from `around`.
  Scope(const Value& value, std::string_view name, const Scope& owner, const Scope& around)
      : value_(&value), name_(name), owner_(&owner), around_(&around), expansion_(around.expansion_) {}

  // The value and the scope it is in; nullptr: there is none, or it is null.
  const Value* Find(std::string_view name, const Scope*& owner) const;
  bool IsShown(std::string_view name) const;
  // RFC 6901.
  std::string Pointer() const;

  ctemplate::TemplateString GetValue(const ctemplate::TemplateString& variable) const override;
  bool IsHiddenSection(const ctemplate::TemplateString& name) const override;
  bool IsUnhiddenSection(const ctemplate::TemplateString& name) const override;
  Iterator* CreateSectionIterator(const ctemplate::TemplateString& section) const override;
  void DumpToString(std::string* out, int level) const override;
  // Partials are put in when a template is read, so ctemplate sees none.
  bool IsHiddenTemplate(const ctemplate::TemplateString& name) const override;
  const char* GetIncludeTemplateName(const ctemplate::TemplateString& variable, int dictnum) const override;
  Iterator* CreateTemplateIterator(const ctemplate::TemplateString& section) const override;

  const Value* value_;
  std::string_view name_;
  size_t index_ = kNoIndex;  // in the list `name_`
  const Scope* owner_ = nullptr;
  const Scope* around_ = nullptr;
  Expansion* expansion_;
};

// Collects one part; more than a mail can be is a failure.
class Output final : public ctemplate::ExpandEmitter {
 public:
  Output(std::string& text, Expansion& expansion) : text_(text), expansion_(expansion) {}
  void Emit(char c) override { Emit(&c, 1); }
  void Emit(const std::string& s) override { Emit(s.data(), s.size()); }
  void Emit(const char* s) override { Emit(s, std::char_traits<char>::length(s)); }
  void Emit(const char* s, size_t size) override;

 private:
  std::string& text_;
  Expansion& expansion_;
};

}  // namespace postbus::templates
