#include <rapidjson/error/en.h>
#include <rapidjson/reader.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>
#include <limits>
#include <numeric>
#include <span>

#include "event/email_event.h"
#include "event/media_type.h"
#include "event/text.h"

namespace postbus {
namespace {

constexpr size_t kMaxViolations = 20;
constexpr char kNoObject[] = "the event is not a JSON object";

enum class Field : uint8_t {
  kId,
  kFrom,
  kTo,
  kCc,
  kBcc,
  kReplyTo,
  kSubject,
  kTemplate,
  kData,
  kHtml,
  kText,
  kAttachments,
  kHeaders,
  kTags,
  kMetadata,
  kPriority,
  kTimestamp,
  kScheduledAt,
  kExpiresAt,
  kRetryCount,
  kMaxRetries,
  kStatus,
  kType,  // from here on: beside the message
  kMessage,
  kUnknown,
};

constexpr std::array<std::string_view, 24> kFieldNames = {
    "id",        "from",         "to",         "cc",          "bcc",         "reply_to", "subject",  "template",
    "data",      "html",         "text",       "attachments", "headers",     "tags",     "metadata", "priority",
    "timestamp", "scheduled_at", "expires_at", "retry_count", "max_retries", "status",   "type",     "message"};
constexpr size_t kMessageFields = static_cast<size_t>(Field::kType);
constexpr std::span<const std::string_view> kMessageFieldNames(kFieldNames.data(), kMessageFields);

// Of an attachment.
enum class Part : uint8_t { kFilename, kContent, kContentType, kContentId, kUnknown };
constexpr std::array<std::string_view, 4> kPartNames = {"filename", "content", "content_type", "content_id"};

std::string_view NameOf(Field field) { return kFieldNames[static_cast<size_t>(field)]; }
std::string_view NameOf(Part part) { return kPartNames[static_cast<size_t>(part)]; }
unsigned BitOf(Field field) { return 1u << static_cast<unsigned>(field); }
unsigned BitOf(Part part) { return 1u << static_cast<unsigned>(part); }

Field FindField(std::string_view name, size_t begin, size_t end) {
  for (size_t i = begin; i < end; ++i) {
    if (kFieldNames[i] == name) return static_cast<Field>(i);
  }
  return Field::kUnknown;
}

Part FindPart(std::string_view name) {
  return static_cast<Part>(std::find(kPartNames.begin(), kPartNames.end(), name) - kPartNames.begin());
}

// Levenshtein distance, ASCII case ignored. REQUIRES: b.size() < 16.
size_t EditDistance(std::string_view a, std::string_view b) {
  std::array<size_t, 16> row;
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 0; i < a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i + 1;
    for (size_t j = 0; j < b.size(); ++j) {
      const size_t substituted = diagonal + (ToLower(a[i]) == ToLower(b[j]) ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = std::min({substituted, row[j] + 1, row[j + 1] + 1});
    }
  }
  return row[b.size()];
}

std::string UnknownFieldDetail(std::string_view name, std::span<const std::string_view> known) {
  std::string detail = "unknown field " + Quoted(name);
  std::string_view nearest;
  size_t distance = std::numeric_limits<size_t>::max();
  if (name.size() <= 24) {
    for (const std::string_view field : known) {
      const size_t candidate = EditDistance(name, field);
      if (candidate < distance) {
        distance = candidate;
        nearest = field;
      }
    }
  }
  if (distance <= std::max<size_t>(1, name.size() / 3)) {
    return detail.append("; did you mean \"").append(nearest).append("\"?");
  }
  detail += "; known are ";
  for (const std::string_view field : known) {
    if (field != known.front()) detail += ", ";
    detail += field;
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

// RFC 5322 allows more in a name; nobody uses it, and some servers and providers stumble over it.
bool IsHeaderName(std::string_view name) {
  auto allowed = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
  };
  return !name.empty() && name.size() <= EventLimits::kMaxHeaderNameBytes &&
         std::all_of(name.begin(), name.end(), allowed);
}

// Why a header of this name is not the producer's to give ("is the field reply_to"), or "".
std::string HeaderNameProblem(std::string_view name) {
  constexpr std::pair<std::string_view, std::string_view> kFields[] = {
      {"From", "from"},         {"To", "to"},           {"Cc", "cc"},         {"Bcc", "bcc"},
      {"Reply-To", "reply_to"}, {"Subject", "subject"}, {"Date", "timestamp"}};
  for (const auto& [header, field] : kFields) {
    if (EqualIgnoringCase(name, header)) return "is the field " + std::string(field) + " of the message";
  }
  constexpr std::string_view kOwned[] = {
      "Sender",         "Message-ID",   "MIME-Version",        "Received",       "Return-Path",
      "DKIM-Signature", "Delivered-To", "DomainKey-Signature", "Auto-Submitted", "Authentication-Results"};
  constexpr std::string_view kOwnedPrefixes[] = {"Content-", "Resent-", "ARC-", "X-Postbus-"};
  const bool owned = std::any_of(std::begin(kOwned), std::end(kOwned),
                                 [&](std::string_view header) { return EqualIgnoringCase(name, header); }) ||
                     std::any_of(std::begin(kOwnedPrefixes), std::end(kOwnedPrefixes), [&](std::string_view prefix) {
                       return EqualIgnoringCase(name.substr(0, prefix.size()), prefix);
                     });
  return owned ? "is written by postbus and by the servers on the way" : "";
}

bool IsContentId(std::string_view id) {
  constexpr std::string_view kSymbols = "._+=$@-";
  return !id.empty() && id.size() <= EventLimits::kMaxContentIdBytes && std::all_of(id.begin(), id.end(), [&](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           kSymbols.find(c) != std::string_view::npos;
  });
}

// RFC 4648 section 4, padded, without line breaks.
bool IsBase64(std::string_view text) {
  static constexpr std::array<bool, 256> kDigits = [] {
    std::array<bool, 256> digits{};
    for (const char c : std::string_view("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")) {
      digits[static_cast<unsigned char>(c)] = true;
    }
    return digits;
  }();
  if (text.empty() || text.size() % 4 != 0) return false;
  if (text.ends_with('=')) text.remove_suffix(text[text.size() - 2] == '=' ? 2 : 1);
  return std::all_of(text.begin(), text.end(), [](char c) { return kDigits[static_cast<unsigned char>(c)]; });
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
    kRoot,         // before the outermost value
    kTop,          // in the event, beside the message
    kMessage,      // in the message
    kMailboxes,    // in a list of addresses
    kTags,         // in the list of tags
    kPairs,        // in headers or metadata
    kAttachments,  // in their list
    kAttachment,   // in one of them
    kOpaque,       // in a value nobody here looks into
  };

  // One of the event's lists; entries beyond `count` are spare: their strings keep their capacity.
  struct MailboxList {
    Field field;
    std::vector<Mailbox> EmailEvent::*member;
    size_t count = 0;
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
  void BeginMember(std::string_view name);
  void BeginPair(std::string_view name);
  void BeginPart(std::string_view name);
  void CheckCharacters(std::string_view text);
  void CheckScalar(Value kind, std::string_view text);
  void CheckString(std::string_view text);
  void CheckTime(std::string_view text, int64_t& unix_ms);
  void CheckMaxRetries(std::string_view number);
  void CheckElement(Value kind, std::string_view text);
  void CheckPair(Value kind, std::string_view text);
  void CheckPart(Value kind, std::string_view text);
  void CheckContentId(std::string_view text);
  void AddMailbox(std::string_view text);
  void EndList(size_t allowed, std::string_view what);
  void EndAttachment();
  void SetRange(size_t begin, size_t end);
  size_t ScalarBegin() const { return json.find_first_not_of(" \t\r\n:", key_end); }
  MailboxList* CurrentMailboxes();
  std::string CurrentPointer() const;
  void FailHere(std::string detail) { Fail(CurrentPointer(), std::move(detail)); }
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
  std::array<MailboxList, 4> mailboxes = {{{Field::kTo, &EmailEvent::to},
                                           {Field::kCc, &EmailEvent::cc},
                                           {Field::kBcc, &EmailEvent::bcc},
                                           {Field::kReplyTo, &EmailEvent::reply_to}}};
  size_t index = 0;        // in the list, or of the pair, that is being read
  std::string pair_name;   // empty: the pair is to be ignored
  std::string pair_where;  // its pointer
  Attachment attachment;   // that is being read
  Part part = Part::kUnknown;
  unsigned parts_seen = 0;
  unsigned parts_given = 0;
};

bool EventDecoder::Impl::Run(std::string_view text, Strictness how, bool is_bare, EmailEvent& target) {
  violations.clear();
  std::array<std::vector<Mailbox>, 4> kept;  // survive Clear(): their strings keep their capacity
  for (size_t i = 0; i < kept.size(); ++i) kept[i].swap(target.*mailboxes[i].member);
  target.Clear();
  for (size_t i = 0; i < kept.size(); ++i) kept[i].swap(target.*mailboxes[i].member);

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
  for (MailboxList& list : mailboxes) list.count = 0;

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
  for (const MailboxList& list : mailboxes) (event->*list.member).resize(list.count);
  if (event->message.size == 0) {
    if (root_is_object && (given & BitOf(Field::kMessage)) == 0) {
      Fail("/message", "message is missing: an event is {\"type\":...,\"message\":{...}}");
    }
    return;
  }
  auto is_given = [&](Field which) { return (given & BitOf(which)) != 0; };
  if (!is_given(Field::kTo)) Fail("/to", "to is missing: an address or a list of them");
  if (event->to.size() <= EventLimits::kMaxRecipients && event->recipient_count() > EventLimits::kMaxRecipients) {
    Fail(event->bcc.empty() ? "/cc" : "/bcc", "to, cc and bcc have " + std::to_string(event->recipient_count()) +
                                                  " recipients together; at most " +
                                                  std::to_string(EventLimits::kMaxRecipients) + " are allowed");
  }
  if (event->expires_at_unix_ms != 0 && event->expires_at_unix_ms <= event->scheduled_at_unix_ms) {
    Fail("/expires_at", "expires_at is not later than scheduled_at: it could never be sent");
  }
  if (!is_given(Field::kHtml) && !is_given(Field::kText)) {
    if (!is_given(Field::kTemplate)) {
      Fail("/template", "template is missing: the name of a template; or give html, text or both instead");
    }
    return;
  }
  if (is_given(Field::kTemplate)) {
    Fail("/template", "template is given beside html or text: a mail is made of one or of the others");
  }
  if (!is_given(Field::kSubject)) Fail("/subject", "subject is missing: without a template nothing else gives one");
  if (json.substr(event->data.offset, event->data.size).find_first_not_of("{} \t\r\n") != std::string_view::npos) {
    Fail("/data", "data is for a template; html and text are sent as they are");
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
  switch (scope) {
    case Scope::kTop:
    case Scope::kMessage:
      BeginMember(name);
      break;
    case Scope::kPairs:
      BeginPair(name);
      break;
    case Scope::kAttachment:
      BeginPart(name);
      break;
    default:
      CheckCharacters(name);
  }
  return MayGoOn();
}

void EventDecoder::Impl::BeginMember(std::string_view name) {
  if (scope == Scope::kTop) {
    field = FindField(name, kMessageFields, kFieldNames.size());
  } else {
    field = FindField(name, 0, kMessageFields);
    if (field == Field::kUnknown && strictness == Strictness::kApi) {
      Fail(PointerTo(name), UnknownFieldDetail(name, kMessageFieldNames));
    }
  }
  CheckCharacters(name);
  if (field == Field::kUnknown) return;
  if ((seen & BitOf(field)) != 0) {
    FailHere(std::string(NameOf(field)) + " is given twice");
    field = Field::kUnknown;
  } else {
    seen |= BitOf(field);
  }
}

void EventDecoder::Impl::BeginPair(std::string_view name) {
  const bool is_header = field == Field::kHeaders;
  const std::vector<NamedText>& pairs = is_header ? event->headers : event->metadata;
  pair_name.clear();
  pair_where = "/" + std::string(NameOf(field)) + PointerTo(name);
  ++index;
  if (is_header) {
    if (!IsHeaderName(name)) {
      return FailHere(Quoted(name) + " is not a header's name: 1 to 76 of A-Z a-z 0-9 - _");
    }
    if (const std::string problem = HeaderNameProblem(name); !problem.empty())
      return FailHere(Quoted(name) + " " + problem);
  } else if (name.empty() || name.size() > EventLimits::kMaxMetadataNameBytes || HeaderTextProblem(name) != nullptr) {
    return FailHere(Quoted(name) + " is not a name of metadata: 1 to 64 bytes, no control character");
  }
  if (std::any_of(pairs.begin(), pairs.end(), [&](const NamedText& other) {
        return is_header ? EqualIgnoringCase(other.name, name) : other.name == name;
      })) {
    return FailHere(Quoted(name) + " is given twice");
  }
  pair_name = name;
}

void EventDecoder::Impl::BeginPart(std::string_view name) {
  part = FindPart(name);
  if (part == Part::kUnknown) {
    if (strictness == Strictness::kApi) {
      Fail("/attachments/" + std::to_string(index) + PointerTo(name), UnknownFieldDetail(name, kPartNames));
    }
    CheckCharacters(name);
  } else if ((parts_seen & BitOf(part)) != 0) {
    FailHere(std::string(NameOf(part)) + " is given twice");
    part = Part::kUnknown;
  } else {
    parts_seen |= BitOf(part);
  }
}

bool EventDecoder::Impl::RawNumber(const char* text, rapidjson::SizeType size, bool) {
  const std::string_view number(text, size);
  if (IsExponentAbsurd(number)) FailHere("the number " + Quoted(number) + " is beyond any double");
  return Scalar(Value::kNumber, number);
}

bool EventDecoder::Impl::String(const char* text, rapidjson::SizeType size, bool) {
  return Scalar(Value::kString, {text, size});
}

// For strings with no rules of their own. What RapidJSON lets through: U+0000, and a low surrogate escaped alone (it
// writes that as ED B0..BF).
void EventDecoder::Impl::CheckCharacters(std::string_view text) {
  if (text.find('\0') != std::string_view::npos) FailHere("a string has U+0000 in it");
  for (size_t at = text.find('\xED'); at != std::string_view::npos; at = text.find('\xED', at + 1)) {
    if (Utf8SequenceSize(text.substr(at)) == 0) {
      FailHere("a string has half of a surrogate pair in it");
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
      if (field != Field::kData) SetRange(ScalarBegin(), stream->Tell());
      CheckScalar(kind, text);
      break;
    case Scope::kTop:
      CheckScalar(kind, text);
      break;
    case Scope::kMailboxes:
    case Scope::kTags:
    case Scope::kAttachments:
      CheckElement(kind, text);
      ++index;
      break;
    case Scope::kPairs:
      CheckPair(kind, text);
      break;
    case Scope::kAttachment:
      CheckPart(kind, text);
      break;
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
      index = 0;
      if (!is_object && CurrentMailboxes() != nullptr) {
        scope = Scope::kMailboxes;
      } else if (!is_object && field == Field::kTags) {
        scope = Scope::kTags;
      } else if (!is_object && field == Field::kAttachments) {
        scope = Scope::kAttachments;
      } else if (is_object && (field == Field::kHeaders || field == Field::kMetadata)) {
        scope = Scope::kPairs;
      } else {
        if (field != Field::kData || !is_object) FailType();
        EnterOpaque();
      }
      break;
    case Scope::kAttachments:
      if (is_object) {
        scope = Scope::kAttachment;
        attachment = {};
        parts_seen = 0;
        parts_given = 0;
        break;
      }
      [[fallthrough]];
    case Scope::kMailboxes:
    case Scope::kTags:
      CheckElement(Value::kBool, {});  // of a type that no list has
      EnterOpaque();
      break;
    case Scope::kPairs:
      CheckPair(Value::kBool, {});
      EnterOpaque();
      break;
    case Scope::kAttachment:
      CheckPart(Value::kBool, {});
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
      if (scope == Scope::kMessage) {
        SetRange(value_begin, stream->Tell() + 1);
      } else if (scope == Scope::kMailboxes || scope == Scope::kTags || scope == Scope::kAttachments) {
        ++index;
      }
      break;
    case Scope::kMailboxes:
      EndList(EventLimits::kMaxRecipients, field == Field::kReplyTo ? "addresses" : "recipients");
      break;
    case Scope::kTags:
      EndList(EventLimits::kMaxTags, "entries");
      break;
    case Scope::kPairs:
      EndList(field == Field::kHeaders ? EventLimits::kMaxHeaders : EventLimits::kMaxMetadata, "entries");
      break;
    case Scope::kAttachments:
      EndList(EventLimits::kMaxAttachments, "entries");
      break;
    case Scope::kAttachment:
      EndAttachment();
      scope = Scope::kAttachments;
      ++index;
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
  } else if (kind == Value::kString) {
    CheckString(text);
  } else {
    FailType();
  }
}

// REQUIRES: `text` is not empty.
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
    case Field::kCc:
    case Field::kBcc:
    case Field::kReplyTo:
      AddMailbox(text);
      return;
    case Field::kHtml:
      CheckCharacters(text);
      event->html = text;
      return;
    case Field::kText:
      CheckCharacters(text);
      event->text = text;
      return;
    case Field::kSubject:
    case Field::kType: {
      const bool is_type = field == Field::kType;
      const size_t max_bytes = is_type ? EventLimits::kMaxTypeBytes : EventLimits::kMaxSubjectBytes;
      if (text.size() > max_bytes) {
        FailHere(std::string(NameOf(field)) + " has " + std::to_string(text.size()) + " bytes; at most " +
                 std::to_string(max_bytes) + " are allowed");
      } else if (const char* problem = HeaderTextProblem(text)) {
        FailHere(std::string(NameOf(field)) + " " + problem);
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
    case Field::kTimestamp:
      CheckTime(text, event->timestamp_unix_ms);
      return;
    case Field::kScheduledAt:
      CheckTime(text, event->scheduled_at_unix_ms);
      return;
    case Field::kExpiresAt:
      CheckTime(text, event->expires_at_unix_ms);
      return;
    default:  // wants no string
      FailType();
  }
}

void EventDecoder::Impl::CheckTime(std::string_view text, int64_t& unix_ms) {
  const int64_t parsed = ParseRfc3339(text);
  if (parsed < 0) return FailHere(Quoted(text) + " is not a time (RFC 3339), such as 2025-12-25T20:00:00Z");
  unix_ms = parsed;
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

EventDecoder::Impl::MailboxList* EventDecoder::Impl::CurrentMailboxes() {
  const auto list =
      std::find_if(mailboxes.begin(), mailboxes.end(), [&](const MailboxList& each) { return each.field == field; });
  return list == mailboxes.end() ? nullptr : &*list;
}

// REQUIRES: `field` is one of addresses.
void EventDecoder::Impl::AddMailbox(std::string_view text) {
  MailboxList& list = *CurrentMailboxes();
  if (list.count == EventLimits::kMaxRecipients) return;  // EndList() complains once, with the number
  std::vector<Mailbox>& entries = event->*list.member;
  if (entries.size() == list.count) entries.emplace_back();
  if (const Status status = ParseMailbox(text, entries[list.count]); !status.ok()) {
    FailHere(std::string(status.message()));
    return;
  }
  ++list.count;
}

void EventDecoder::Impl::CheckElement(Value kind, std::string_view text) {
  switch (scope) {
    case Scope::kMailboxes:
      if (kind != Value::kString) return FailHere("an address must be a string");
      AddMailbox(text);
      return;
    case Scope::kTags:
      if (kind != Value::kString || text.empty() || text.size() > EventLimits::kMaxTagBytes) {
        FailHere("a tag must be a string of 1 to 128 bytes");
      } else if (const char* problem = HeaderTextProblem(text)) {
        FailHere(std::string("a tag ") + problem);
      } else if (index < EventLimits::kMaxTags) {
        event->tags.emplace_back(text);
      }
      return;
    default:
      FailHere("an attachment must be an object");
  }
}

void EventDecoder::Impl::CheckPair(Value kind, std::string_view text) {
  if (pair_name.empty()) return;  // its name was refused
  const size_t first = text.find_first_not_of(" \t");
  text = first == std::string_view::npos ? "" : text.substr(first, text.find_last_not_of(" \t") - first + 1);
  const bool is_header = field == Field::kHeaders;
  const size_t size = text.size() + (is_header ? pair_name.size() + 2 : 0);
  const size_t allowed = is_header ? EventLimits::kMaxHeaderBytes : EventLimits::kMaxMetadataBytes;
  if (kind == Value::kNull || (kind == Value::kString && text.empty())) return;  // as if it were not there
  if (kind != Value::kString) {
    FailHere("a value of " + std::string(NameOf(field)) + " must be a string");
  } else if (size > allowed) {
    FailHere(Quoted(pair_name) + " has " + std::to_string(size) + " bytes" + (is_header ? " with its name" : "") +
             "; at most " + std::to_string(allowed) + " are allowed");
  } else if (const char* problem = HeaderTextProblem(text)) {
    FailHere(Quoted(pair_name) + " " + problem);
  } else if (is_header ? index <= EventLimits::kMaxHeaders : index <= EventLimits::kMaxMetadata) {
    (is_header ? event->headers : event->metadata).push_back({pair_name, std::string(text)});
  }
}

void EventDecoder::Impl::CheckPart(Value kind, std::string_view text) {
  if (part == Part::kUnknown) {
    if (kind == Value::kString) CheckCharacters(text);
    return;
  }
  if (kind == Value::kNull || (kind == Value::kString && text.empty()) || (kind == Value::kNumber && IsZero(text)))
    return;
  parts_given |= BitOf(part);
  if (kind != Value::kString) return FailHere(std::string(NameOf(part)) + " must be a string");
  switch (part) {
    case Part::kFilename:
      if (text.size() > EventLimits::kMaxFilenameBytes) {
        FailHere("filename has " + std::to_string(text.size()) + " bytes; at most " +
                 std::to_string(EventLimits::kMaxFilenameBytes) + " are allowed");
      } else if (const char* problem = HeaderTextProblem(text)) {
        FailHere(std::string("filename ") + problem);
      } else if (text.find_first_of("/\\\t") != std::string_view::npos) {
        FailHere(Quoted(text) + " is not a file's name: without folders, please");
      } else {
        attachment.filename = text;
      }
      return;
    case Part::kContent:
      if (!IsBase64(text)) {
        FailHere("content is not base64 (RFC 4648 section 4: + and /, padded with =, no line breaks)");
        return;
      }
      attachment.content = {ScalarBegin() + 1, stream->Tell() - ScalarBegin() - 2};
      return;
    case Part::kContentType:
      if (text.size() > EventLimits::kMaxContentTypeBytes || !IsMediaType(text) || HeaderTextProblem(text) != nullptr) {
        FailHere(Quoted(text) + " is not a media type, such as application/pdf or text/csv; charset=utf-8");
      } else if (EqualIgnoringCase(text.substr(0, 10), "multipart/") ||
                 EqualIgnoringCase(text.substr(0, 8), "message/")) {
        FailHere(Quoted(text) + " cannot be attached (RFC 2046 5); application/octet-stream can");
      } else {
        attachment.content_type = text;
      }
      return;
    case Part::kContentId:
      CheckContentId(text);
      return;
    case Part::kUnknown:
      return;
  }
}

void EventDecoder::Impl::CheckContentId(std::string_view text) {
  if (!IsContentId(text)) {
    FailHere(Quoted(text) + " is not a content id: 1 to 128 of A-Z a-z 0-9 . _ + = $ @ -, as behind cid: in the html");
    return;
  }
  if (std::any_of(event->attachments.begin(), event->attachments.end(),
                  [&](const Attachment& other) { return other.content_id == text; })) {
    FailHere(Quoted(text) + " is another attachment's content_id, too");
    return;
  }
  attachment.content_id = text;
}

void EventDecoder::Impl::EndList(size_t allowed, std::string_view what) {
  scope = Scope::kMessage;
  if (index > 0) given |= BitOf(field);
  if (index > allowed) {
    FailHere(std::string(NameOf(field)) + " has " + std::to_string(index) + " " + std::string(what) + "; at most " +
             std::to_string(allowed) + " are allowed");
  }
}

void EventDecoder::Impl::EndAttachment() {
  const std::string where = "/attachments/" + std::to_string(index);
  if ((parts_given & BitOf(Part::kFilename)) == 0) Fail(where + "/filename", "filename is missing");
  if ((parts_given & BitOf(Part::kContent)) == 0) Fail(where + "/content", "content is missing: the file in base64");
  if (index >= EventLimits::kMaxAttachments) return;  // EndList() complains
  if (attachment.content_type.empty()) attachment.content_type = MediaTypeOf(attachment.filename);
  event->attachments.push_back(attachment);
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
  switch (scope == Scope::kOpaque ? opaque_parent : scope) {
    case Scope::kMailboxes:
    case Scope::kTags:
    case Scope::kAttachments:
      return "/" + std::string(NameOf(field)) + "/" + std::to_string(index);
    case Scope::kPairs:
      return pair_where;
    case Scope::kAttachment: {
      const std::string where = "/attachments/" + std::to_string(index);
      return part == Part::kUnknown ? where : where + "/" + std::string(NameOf(part));
    }
    default:
      return field == Field::kUnknown ? std::string() : "/" + std::string(NameOf(field));
  }
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
    case Field::kHeaders:
    case Field::kMetadata:
      wanted = " must be an object of strings";
      break;
    case Field::kTo:
    case Field::kCc:
    case Field::kBcc:
    case Field::kReplyTo:
      wanted = " must be a string or a list of strings";
      break;
    case Field::kTags:
      wanted = " must be a list of strings";
      break;
    case Field::kAttachments:
      wanted = " must be a list of objects";
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
