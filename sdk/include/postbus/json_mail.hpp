// postbus/json_mail.hpp - for providers whose API speaks JSON: the body of a request, written member by member, and
// what to ask an answer. Needs RapidJSON's headers (Debian: rapidjson-dev), as nothing else of the SDK does.
#pragma once

#include <rapidjson/document.h>
#include <rapidjson/stringbuffer.h>
#include <rapidjson/writer.h>

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "postbus/abi/mail.h"
#include "postbus/plugin.hpp"

namespace postbus::sdk {

// An object that is written from its first member to its last; Take ends it. An object or array inside begins and ends
// by the calls of that name; one without a name is an element of an array. What a list is made of is left out where
// there is nothing in it.
class JsonBody {
 public:
  // `room`: about how many bytes it will have.
  explicit JsonBody(size_t room = 4096) : buffer_(nullptr, room), json_(buffer_) { json_.StartObject(); }

  std::string Take() {
    json_.EndObject();
    return {buffer_.GetString(), buffer_.GetSize()};
  }

  void BeginObject(std::string_view name = {}) {
    Name(name);
    json_.StartObject();
  }
  void EndObject() { json_.EndObject(); }
  void BeginArray(std::string_view name) {
    Name(name);
    json_.StartArray();
  }
  void EndArray() { json_.EndArray(); }

  void Text(std::string_view name, std::string_view text) {
    Name(name);
    json_.String(text.data(), static_cast<rapidjson::SizeType>(text.size()));
  }
  void TextIfAny(std::string_view name, std::string_view text) {
    if (!text.empty()) Text(name, text);
  }
  void Number(std::string_view name, int64_t number) {
    Name(name);
    json_.Int64(number);
  }
  // `json` as it is: what never changes.
  void Raw(std::string_view name, std::string_view json) {
    Name(name);
    json_.RawValue(json.data(), json.size(), rapidjson::kObjectType);
  }
  // ["a","b"]
  void Texts(std::string_view name, std::span<const postbus_str> texts) {
    if (texts.empty()) return;
    BeginArray(name);
    for (const postbus_str& text : texts) Text({}, View(text));
    EndArray();
  }

  // {"email":"a@b","name":"A"}
  void Address(std::string_view name, const postbus_mailbox& mailbox) {
    BeginObject(name);
    Text("email", View(mailbox.address));
    TextIfAny("name", View(mailbox.name));
    EndObject();
  }
  void Addresses(std::string_view name, std::span<const postbus_mailbox> mailboxes) {
    if (mailboxes.empty()) return;
    BeginArray(name);
    for (const postbus_mailbox& mailbox : mailboxes) Address({}, mailbox);
    EndArray();
  }
  // {"X-Name":"value"}
  void Headers(std::string_view name, const postbus_parts& parts) {
    if (parts.n_headers == 0) return;
    BeginObject(name);
    for (const postbus_header& header : std::span(parts.headers, parts.n_headers)) {
      Text(View(header.name), View(header.value));
    }
    EndObject();
  }
  // The event's metadata and its id, which the provider gives back in its reports. Never left out.
  void Metadata(std::string_view name, const postbus_mail& mail) {
    constexpr std::string_view kId = "postbus_id";
    BeginObject(name);
    Text(kId, View(mail.event_id));
    for (const postbus_header& one : std::span(mail.parts->metadata, mail.parts->n_metadata)) {
      if (View(one.name) != kId) Text(View(one.name), View(one.value));
    }
    EndObject();
  }
  // [{"content":base64,"type":"image/png","filename":"a.png","disposition":"inline","content_id":"logo"}]
  void Attachments(std::string_view name, const postbus_parts& parts) {
    if (parts.n_attachments == 0) return;
    BeginArray(name);
    for (const postbus_attachment* file : std::span(parts.attachments, parts.n_attachments)) {
      const std::string_view type = View(file->content_type);
      BeginObject();
      Text("content", View(file->base64));
      Text("type", type.substr(0, type.find(';')));  // without parameters: SendGrid refuses a semicolon
      Text("filename", View(file->filename));
      Text("disposition", file->content_id.size == 0 ? "attachment" : "inline");
      TextIfAny("content_id", View(file->content_id));
      EndObject();
    }
    EndArray();
  }

 private:
  void Name(std::string_view name) {
    if (!name.empty()) json_.Key(name.data(), static_cast<rapidjson::SizeType>(name.size()));
  }

  rapidjson::StringBuffer buffer_;
  rapidjson::Writer<rapidjson::StringBuffer> json_;
};

// An object or something that has no members: answers are not to be trusted.
inline rapidjson::Document ParseJson(const std::string& body) {
  rapidjson::Document document;
  document.Parse<rapidjson::kParseIterativeFlag>(body.data(), body.size());
  return document;
}

// A string member of an object; empty where there is none.
inline std::string_view JsonText(const rapidjson::Value& object, const char* name) {
  if (!object.IsObject()) return {};
  const auto found = object.FindMember(name);
  if (found == object.MemberEnd() || !found->value.IsString()) return {};
  return {found->value.GetString(), found->value.GetStringLength()};
}

// An array member; empty where there is none.
inline std::span<const rapidjson::Value> JsonItems(const rapidjson::Value& object, const char* name) {
  if (!object.IsObject()) return {};
  const auto found = object.FindMember(name);
  if (found == object.MemberEnd() || !found->value.IsArray()) return {};
  return {found->value.Begin(), found->value.End()};
}

// The strings of an array member.
inline std::vector<std::string_view> JsonTexts(const rapidjson::Value& object, const char* name) {
  std::vector<std::string_view> texts;
  for (const rapidjson::Value& item : JsonItems(object, name)) {
    if (item.IsString()) texts.emplace_back(item.GetString(), item.GetStringLength());
  }
  return texts;
}

}  // namespace postbus::sdk
