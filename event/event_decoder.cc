#include <rapidjson/error/en.h>
#include <rapidjson/reader.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>
#include <limits>
#include <numeric>

#include "event/email_event.h"
#include "event/text.h"

namespace postbus {
namespace {

constexpr size_t kMaxViolations = 20;
constexpr char kNoObject[] = "the event is not a JSON object";

enum class Field : uint8_t {
  kId,
  kFrom,
  kTo,
  kSubject,
  kTemplate,
  kData,
  kPriority,
  kTimestamp,
  kRetryCount,
  kMaxRetries,
  kStatus,
  kType,  // from here on: beside the message
  kMessage,
  kUnknown,
};

constexpr std::array<std::string_view, 13> kFieldNames = {
    "id",        "from",        "to",          "subject", "template", "data",   "priority",
    "timestamp", "retry_count", "max_retries", "status",  "type",     "message"};
constexpr size_t kMessageFields = static_cast<size_t>(Field::kType);

std::string_view NameOf(Field field) { return kFieldNames[static_cast<size_t>(field)]; }
unsigned BitOf(Field field) { return 1u << static_cast<unsigned>(field); }

Field FindField(std::string_view name, size_t begin, size_t end) {
  for (size_t i = begin; i < end; ++i) {
    if (kFieldNames[i] == name) return static_cast<Field>(i);
  }
  return Field::kUnknown;
}

// Levenshtein distance, ASCII case ignored. REQUIRES: b.size() < 16.
size_t EditDistance(std::string_view a, std::string_view b) {
  auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : c; };
  std::array<size_t, 16> row;
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 0; i < a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i + 1;
    for (size_t j = 0; j < b.size(); ++j) {
      const size_t substituted = diagonal + (lower(a[i]) == lower(b[j]) ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = std::min({substituted, row[j] + 1, row[j + 1] + 1});
    }
  }
  return row[b.size()];
}

std::string UnknownFieldDetail(std::string_view name) {
  std::string detail = "unknown field " + Quoted(name);
  size_t nearest = 0;
  size_t distance = std::numeric_limits<size_t>::max();
  if (name.size() <= 24) {
    for (size_t i = 0; i < kMessageFields; ++i) {
      const size_t candidate = EditDistance(name, kFieldNames[i]);
      if (candidate < distance) {
        distance = candidate;
        nearest = i;
      }
    }
  }
  if (distance <= std::max<size_t>(1, name.size() / 3)) {
    return detail.append("; did you mean \"").append(kFieldNames[nearest]).append("\"?");
  }
  detail += "; known are ";
  for (size_t i = 0; i < kMessageFields; ++i) {
    if (i > 0) detail += ", ";
    detail += kFieldNames[i];
  }
  return detail;
}

// RFC 6901; "" for a name that is too long or too strange to stand in a pointer.
std::string PointerTo(std::string_view name) {
  if (name.size() > 64 || HeaderTextProblem(name) != nullptr) return "";
  std::string pointer = "/";
  for (const char c : name) {
    if (c == '~') {
      pointer += "~0";
    } else if (c == '/') {
      pointer += "~1";
    } else {
      pointer += c;
    }
  }
  return pointer;
}

bool IsTemplateName(std::string_view name) {
  auto alphanumeric = [](char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9'); };
  return name.size() <= EventLimits::kMaxTemplateBytes && alphanumeric(name.front()) &&
         name.find("..") == std::string_view::npos && std::all_of(name.begin(), name.end(), [&](char c) {
           return alphanumeric(c) || c == '.' || c == '_' || c == '-';
         });
}

// JSON may write zero as 0, -0, 0.0 or 0e5.
bool IsZero(std::string_view number) {
  return number.substr(0, number.find_first_of("eE")).find_first_of("123456789") == std::string_view::npos;
}

// Five digits are far beyond any double, and far from what parsers behind us could stumble over.
bool IsExponentAbsurd(std::string_view number) {
  const size_t e = number.find_first_of("eE");
  if (e == std::string_view::npos) return false;
  const size_t digits = number.find_first_not_of("+-0", e + 1);
  return digits != std::string_view::npos && number.size() - digits > 5;
}

// A RapidJSON input stream over a view. Unlike rapidjson::StringStream it is not copied into locals
// (StreamTraits::copyOptimization), so that Tell() is exact inside handler calls, and it needs no terminating NUL.
class ViewStream {
 public:
  using Ch = char;
  explicit ViewStream(std::string_view text) : begin_(text.data()), at_(begin_), end_(begin_ + text.size()) {}

  char Peek() const { return at_ == end_ ? '\0' : *at_; }
  char Take() { return at_ == end_ ? '\0' : *at_++; }
  size_t Tell() const { return static_cast<size_t>(at_ - begin_); }

  // Parts of the concept for in-situ parsing, which is not used.
  char* PutBegin() { return nullptr; }
  void Put(char) {}
  void Flush() {}
  size_t PutEnd(char*) { return 0; }

 private:
  const char* const begin_;
  const char* at_;
  const char* const end_;
};

}  // namespace

// The SAX handler: a state machine over the few levels that mean something; all below is opaque.
struct EventDecoder::Impl : rapidjson::BaseReaderHandler<rapidjson::UTF8<>, EventDecoder::Impl> {
  enum class Value { kNull, kBool, kNumber, kString };
  enum class Scope {
    kRoot,        // before the outermost value
    kTop,         // in the event, beside the message
    kMessage,     // in the message
    kRecipients,  // in the list of `to`
    kOpaque,      // in a value nobody here looks into
  };

  explicit Impl(EventLimits event_limits) : limits(event_limits) {}

  bool Run(std::string_view text, Strictness how, bool is_bare, EmailEvent& target);
  void Finish();
  void Fail(std::string_view pointer, std::string detail);
  void FailAlone(std::string detail);
  bool MayGoOn() const { return violations.size() < kMaxViolations; }  // else the parser stops: no more is told

  // The handler. Int(), Double() and so on of the base class are never called: numbers come raw.
  bool Null() { return Scalar(Value::kNull, {}); }
  bool Bool(bool) { return Scalar(Value::kBool, {}); }
  bool RawNumber(const char* text, rapidjson::SizeType size, bool);
  bool String(const char* text, rapidjson::SizeType size, bool);
  bool Key(const char* text, rapidjson::SizeType size, bool);
  bool StartObject() { return Open(true); }
  bool EndObject(rapidjson::SizeType) { return Close(); }
  bool StartArray() { return Open(false); }
  bool EndArray(rapidjson::SizeType) { return Close(); }

  bool Scalar(Value kind, std::string_view text);
  bool Open(bool is_object);
  bool Close();
  void EnterOpaque();
  void CheckCharacters(std::string_view text);
  void CheckScalar(Value kind, std::string_view text);
  void CheckString(std::string_view text);
  void CheckMaxRetries(std::string_view number);
  void AddRecipient(std::string_view text, std::string_view pointer);
  void SetRange(size_t begin, size_t end);
  std::string CurrentPointer() const;
  void FailType();

  // Constant, and kept for its capacity.
  const EventLimits limits;
  rapidjson::Reader reader;
  std::vector<Violation> violations;

  // Of the decoding that runs.
  std::string_view json;
  ViewStream* stream = nullptr;
  EmailEvent* event = nullptr;
  Strictness strictness = Strictness::kQueue;
  bool bare = false;
  bool root_is_object = false;
  bool too_deep = false;
  Scope scope = Scope::kRoot;
  Field field = Field::kUnknown;  // of the member that is being read
  unsigned seen = 0;              // bits of known fields that appeared
  unsigned given = 0;             // bits of those that are not absent
  int depth = 0;
  size_t key_end = 0;      // where the key of that member ended
  size_t value_begin = 0;  // where its value, a container, began
  Scope opaque_parent = Scope::kRoot;
  int opaque_depth = 0;
  size_t to_index = 0;  // in the list
  size_t to_count = 0;  // of event->to
};

bool EventDecoder::Impl::Run(std::string_view text, Strictness how, bool is_bare, EmailEvent& target) {
  violations.clear();
  std::vector<Mailbox> to;  // survives Clear(): its strings keep their capacity
  to.swap(target.to);
  target.Clear();
  to.swap(target.to);

  const size_t reserved = how == Strictness::kApi ? std::min(EventLimits::kAcceptanceBytes, limits.max_bytes) : 0;
  if (text.size() > limits.max_bytes - reserved) {
    FailAlone("the event has " + std::to_string(text.size()) + " bytes; at most " +
              std::to_string(limits.max_bytes - reserved) + " are allowed (limits.max_event)");
    return false;
  }

  ViewStream input(text);
  json = text;
  stream = &input;
  event = &target;
  strictness = how;
  bare = is_bare;
  root_is_object = false;
  too_deep = false;
  scope = Scope::kRoot;
  field = Field::kUnknown;
  seen = 0;
  given = 0;
  depth = bare ? 1 : 0;
  to_index = 0;
  to_count = 0;

  // Numbers stay text: RapidJSON 1.1 overflows an int for 0.0000000001e-2147483639 and then reads outside of its table.
  constexpr unsigned kFlags =
      rapidjson::kParseIterativeFlag | rapidjson::kParseValidateEncodingFlag | rapidjson::kParseNumbersAsStringsFlag;
  reader.Parse<kFlags>(input, *this);
  if (too_deep) {
    FailAlone("nested deeper than " + std::to_string(EventLimits::kMaxDepth) + " levels at byte " +
              std::to_string(input.Tell()));
  } else if (!MayGoOn()) {
    return false;
  } else if (reader.HasParseError()) {
    FailAlone("not JSON at byte " + std::to_string(reader.GetErrorOffset()) + ": " +
              rapidjson::GetParseError_En(reader.GetParseErrorCode()));
  } else if (input.Tell() != text.size()) {  // RapidJSON takes a NUL for the end
    FailAlone("not JSON at byte " + std::to_string(input.Tell()) + ": a NUL byte.");
  } else {
    Finish();
  }
  return violations.empty();
}

void EventDecoder::Impl::Finish() {
  event->to.resize(to_count);
  if (event->message.size > 0) {
    if ((given & BitOf(Field::kTo)) == 0) Fail("/to", "to is missing: an address or a list of them");
    if ((given & BitOf(Field::kTemplate)) == 0) Fail("/template", "template is missing: the name of a template");
  } else if (root_is_object && (given & BitOf(Field::kMessage)) == 0) {
    Fail("/message", "message is missing: an event is {\"type\":...,\"message\":{...}}");
  }
}

void EventDecoder::Impl::Fail(std::string_view pointer, std::string detail) {
  if (MayGoOn()) violations.push_back({std::string(pointer), std::move(detail)});
}

void EventDecoder::Impl::FailAlone(std::string detail) {
  violations.clear();
  Fail("", std::move(detail));
}

bool EventDecoder::Impl::Key(const char* text, rapidjson::SizeType size, bool) {
  const std::string_view name(text, size);
  key_end = stream->Tell();
  if (scope == Scope::kTop) {
    field = FindField(name, kMessageFields, kFieldNames.size());
  } else if (scope == Scope::kMessage) {
    field = FindField(name, 0, kMessageFields);
    if (field == Field::kUnknown && strictness == Strictness::kApi) Fail(PointerTo(name), UnknownFieldDetail(name));
  }
  CheckCharacters(name);
  if ((scope == Scope::kTop || scope == Scope::kMessage) && field != Field::kUnknown) {
    if ((seen & BitOf(field)) != 0) {
      Fail(CurrentPointer(), std::string(NameOf(field)) + " is given twice");
      field = Field::kUnknown;
    } else {
      seen |= BitOf(field);
    }
  }
  return MayGoOn();
}

bool EventDecoder::Impl::RawNumber(const char* text, rapidjson::SizeType size, bool) {
  const std::string_view number(text, size);
  if (IsExponentAbsurd(number)) Fail(CurrentPointer(), "the number " + Quoted(number) + " is beyond any double");
  return Scalar(Value::kNumber, number);
}

bool EventDecoder::Impl::String(const char* text, rapidjson::SizeType size, bool) {
  return Scalar(Value::kString, {text, size});
}

// For strings with no rules of their own. What RapidJSON lets through: U+0000, and a low surrogate escaped alone (it
// writes that as ED B0..BF).
void EventDecoder::Impl::CheckCharacters(std::string_view text) {
  if (text.find('\0') != std::string_view::npos) Fail(CurrentPointer(), "a string has U+0000 in it");
  for (size_t at = text.find('\xED'); at != std::string_view::npos; at = text.find('\xED', at + 1)) {
    if (Utf8SequenceSize(text.substr(at)) == 0) {
      Fail(CurrentPointer(), "a string has half of a surrogate pair in it");
      return;
    }
  }
}

bool EventDecoder::Impl::Scalar(Value kind, std::string_view text) {
  switch (scope) {
    case Scope::kRoot:
      Fail("", kNoObject);
      break;
    case Scope::kMessage:
      // The value begins behind the colon; RapidJSON only tells where it ended. Scalar data is "absent" or refused.
      if (field != Field::kData) SetRange(json.find_first_not_of(" \t\r\n:", key_end), stream->Tell());
      CheckScalar(kind, text);
      break;
    case Scope::kTop:
      CheckScalar(kind, text);
      break;
    case Scope::kRecipients: {
      const std::string pointer = "/to/" + std::to_string(to_index++);
      if (kind == Value::kString) {
        AddRecipient(text, pointer);
      } else {
        Fail(pointer, "a recipient must be a string");
      }
      break;
    }
    case Scope::kOpaque:
      if (kind == Value::kString) CheckCharacters(text);
      break;
  }
  return MayGoOn();
}

bool EventDecoder::Impl::Open(bool is_object) {
  if (++depth > EventLimits::kMaxDepth) {
    too_deep = true;
    return false;
  }
  switch (scope) {
    case Scope::kRoot:
      if (!is_object) {
        Fail("", kNoObject);
        EnterOpaque();
        break;
      }
      scope = bare ? Scope::kMessage : Scope::kTop;
      event->message.offset = stream->Tell();  // if it is bare; else to be set below
      root_is_object = true;
      break;
    case Scope::kTop:
      if (field == Field::kMessage && is_object) {
        given |= BitOf(field);
        scope = Scope::kMessage;
        event->message.offset = stream->Tell();
      } else {
        FailType();
        EnterOpaque();
      }
      break;
    case Scope::kMessage:
      value_begin = stream->Tell();
      if (field == Field::kTo && !is_object) {
        scope = Scope::kRecipients;
        break;
      }
      if (field != Field::kData || !is_object) FailType();
      EnterOpaque();
      break;
    case Scope::kRecipients:
      Fail("/to/" + std::to_string(to_index++), "a recipient must be a string");
      EnterOpaque();
      break;
    case Scope::kOpaque:
      break;
  }
  return MayGoOn();
}

bool EventDecoder::Impl::Close() {
  --depth;
  switch (scope) {
    case Scope::kOpaque:
      if (depth != opaque_depth) break;
      scope = opaque_parent;
      if (scope == Scope::kMessage) SetRange(value_begin, stream->Tell() + 1);
      break;
    case Scope::kRecipients:
      scope = Scope::kMessage;
      if (to_index > 0) given |= BitOf(Field::kTo);
      if (to_index > EventLimits::kMaxRecipients) {
        Fail("/to", "to has " + std::to_string(to_index) + " recipients; at most " +
                        std::to_string(EventLimits::kMaxRecipients) + " are allowed");
      }
      break;
    case Scope::kMessage:
      event->message.size = stream->Tell() + 1 - event->message.offset;
      scope = Scope::kTop;
      break;
    case Scope::kRoot:
    case Scope::kTop:
      break;
  }
  return MayGoOn();
}

// REQUIRES: `depth` counts the container that was just opened.
void EventDecoder::Impl::EnterOpaque() {
  opaque_parent = scope;
  opaque_depth = depth - 1;
  scope = Scope::kOpaque;
}

void EventDecoder::Impl::CheckScalar(Value kind, std::string_view text) {
  switch (field) {
    case Field::kRetryCount:
    case Field::kStatus:
    case Field::kUnknown:
      if (kind == Value::kString) CheckCharacters(text);
      return;
    default:
      break;
  }
  const bool absent =
      kind == Value::kNull || (kind == Value::kString && text.empty()) || (kind == Value::kNumber && IsZero(text));
  if (absent) return;
  given |= BitOf(field);
  if (field == Field::kMaxRetries && kind == Value::kNumber) {
    CheckMaxRetries(text);
  } else if (field != Field::kMaxRetries && field != Field::kData && field != Field::kMessage &&
             kind == Value::kString) {
    CheckString(text);
  } else {
    FailType();
  }
}

// REQUIRES: `text` is not empty and `field` wants a string.
void EventDecoder::Impl::CheckString(std::string_view text) {
  switch (field) {
    case Field::kId:
      if (!IsValidId(text)) {
        Fail("/id", Quoted(text) + " is not an id: 1 to 128 of A-Z a-z 0-9 . _ : -");
        return;
      }
      event->id = text;
      return;
    case Field::kFrom:
      if (const Status status = ParseMailbox(text, event->from); !status.ok()) {
        Fail("/from", std::string(status.message()));
      }
      return;
    case Field::kTo:
      AddRecipient(text, "/to");
      return;
    case Field::kSubject:
    case Field::kType: {
      const bool is_type = field == Field::kType;
      const size_t max_bytes = is_type ? EventLimits::kMaxTypeBytes : EventLimits::kMaxSubjectBytes;
      if (text.size() > max_bytes) {
        Fail(CurrentPointer(), std::string(NameOf(field)) + " has " + std::to_string(text.size()) + " bytes; at most " +
                                   std::to_string(max_bytes) + " are allowed");
      } else if (const char* problem = HeaderTextProblem(text)) {
        Fail(CurrentPointer(), std::string(NameOf(field)) + " " + problem);
      } else {
        (is_type ? event->type : event->subject) = text;
      }
      return;
    }
    case Field::kTemplate:
      if (!IsTemplateName(text)) {
        Fail("/template", Quoted(text) + " is not a template name: 1 to 128 of A-Z a-z 0-9 . _ -, a letter or digit " +
                              "first, no \"..\"");
        return;
      }
      event->template_name = text;
      return;
    case Field::kPriority:
      for (const Priority priority : {Priority::kHigh, Priority::kNormal, Priority::kLow}) {
        if (text == PriorityName(priority)) {
          event->priority = priority;
          return;
        }
      }
      Fail("/priority", Quoted(text) + " is not a priority: high, normal or low");
      return;
    case Field::kTimestamp: {
      const int64_t unix_ms = ParseRfc3339(text);
      if (unix_ms < 0) {
        Fail("/timestamp", Quoted(text) + " is not a time (RFC 3339), such as 2025-12-25T20:00:00Z");
        return;
      }
      event->timestamp_unix_ms = unix_ms;
      return;
    }
    case Field::kData:
    case Field::kRetryCount:
    case Field::kMaxRetries:
    case Field::kStatus:
    case Field::kMessage:
    case Field::kUnknown:
      return;
  }
}

// Any spelling of an integer is one: some languages write 3.0.
void EventDecoder::Impl::CheckMaxRetries(std::string_view number) {
  double value = 0;
  const auto parsed = std::from_chars(number.data(), number.data() + number.size(), value);
  constexpr double kMax = std::numeric_limits<int>::max();
  if (parsed.ec != std::errc() || !(value >= EmailEvent::kNever && value <= kMax) ||
      value != static_cast<double>(static_cast<int>(value))) {
    Fail("/max_retries",
         "max_retries must be an integer: -1 (never retry), 0 (as configured) or more, up to 2147483647");
    return;
  }
  event->max_retries = static_cast<int>(value);
}

void EventDecoder::Impl::AddRecipient(std::string_view text, std::string_view pointer) {
  if (to_count == EventLimits::kMaxRecipients) return;  // Close() complains once, with the number
  if (event->to.size() == to_count) event->to.emplace_back();
  if (const Status status = ParseMailbox(text, event->to[to_count]); !status.ok()) {
    Fail(pointer, std::string(status.message()));
    return;
  }
  ++to_count;
}

void EventDecoder::Impl::SetRange(size_t begin, size_t end) {
  ByteRange* range = nullptr;
  switch (field) {
    case Field::kId:
      range = &event->id_value;
      break;
    case Field::kFrom:
      range = &event->from_value;
      break;
    case Field::kTimestamp:
      range = &event->timestamp_value;
      break;
    case Field::kRetryCount:
      range = &event->retry_count;
      break;
    case Field::kStatus:
      range = &event->status;
      break;
    case Field::kData:
      range = &event->data;
      break;
    default:
      break;
  }
  if (range != nullptr) *range = {begin, end - begin};
}

std::string EventDecoder::Impl::CurrentPointer() const {
  return field == Field::kUnknown ? std::string() : "/" + std::string(NameOf(field));
}

void EventDecoder::Impl::FailType() {
  const char* wanted = nullptr;
  switch (field) {
    case Field::kRetryCount:
    case Field::kStatus:
    case Field::kUnknown:
      return;
    case Field::kData:
    case Field::kMessage:
      wanted = " must be an object";
      break;
    case Field::kTo:
      wanted = " must be a string or a list of strings";
      break;
    case Field::kMaxRetries:
      wanted = " must be an integer";
      break;
    default:
      wanted = " must be a string";
  }
  given |= BitOf(field);
  Fail(CurrentPointer(), std::string(NameOf(field)) + wanted);
}

EventDecoder::EventDecoder(EventLimits limits) : impl_(std::make_unique<Impl>(limits)) {}
EventDecoder::~EventDecoder() = default;

bool EventDecoder::Decode(std::string_view json, Strictness strictness, EmailEvent& event) {
  return impl_->Run(json, strictness, false, event);
}

bool EventDecoder::DecodeMessage(std::string_view json, Strictness strictness, EmailEvent& event) {
  return impl_->Run(json, strictness, true, event);
}

const std::vector<Violation>& EventDecoder::violations() const { return impl_->violations; }

// A scan, not a parse: what is wrong in the text is found by the decoding that follows.
bool EventDecoder::LooksLikeMessage(std::string_view json) {
  constexpr std::string_view kSpace = " \t\r\n";
  size_t at = json.find_first_not_of(kSpace);
  if (at == std::string_view::npos || json[at] != '{') return false;
  int depth = 0;
  for (; at < json.size(); ++at) {
    switch (json[at]) {
      case '{':
      case '[':
        ++depth;
        break;
      case '}':
      case ']':
        --depth;
        break;
      case '"': {
        const size_t begin = ++at;
        while (at < json.size() && json[at] != '"') at += json[at] == '\\' ? 2 : 1;
        if (at >= json.size()) return true;
        const size_t next = json.find_first_not_of(kSpace, at + 1);
        if (depth == 1 && json.substr(begin, at - begin) == "message" && next != std::string_view::npos &&
            json[next] == ':') {
          return false;
        }
        break;
      }
      default:
        break;
    }
  }
  return true;
}

}  // namespace postbus
