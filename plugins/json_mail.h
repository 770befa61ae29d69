// plugins/json_mail.h - what providers with a JSON API have in common: writing addresses and attachments, reading
// errors.
#pragma once

#include <rapidjson/document.h>
#include <rapidjson/stringbuffer.h>
#include <rapidjson/writer.h>

#include <span>
#include <string>
#include <string_view>

#include "postbus/http_transport.hpp"

namespace postbus::json_mail {

using Writer = rapidjson::Writer<rapidjson::StringBuffer>;

inline void String(Writer& json, std::string_view text) {
  json.String(text.data(), static_cast<rapidjson::SizeType>(text.size()));
}

inline void Member(Writer& json, std::string_view name, std::string_view text) {
  json.Key(name.data(), static_cast<rapidjson::SizeType>(name.size()));
  String(json, text);
}

// {"email":"a@b","name":"A"}
inline void Address(Writer& json, const postbus_mailbox& mailbox) {
  json.StartObject();
  Member(json, "email", sdk::View(mailbox.address));
  if (mailbox.name.size != 0) Member(json, "name", sdk::View(mailbox.name));
  json.EndObject();
}

// [{"email":"a@b"},…]; nothing where there are none. So all that follow.
inline void Addresses(Writer& json, const char* name, const postbus_mailbox* mailboxes, uint32_t n) {
  if (n == 0) return;
  json.Key(name);
  json.StartArray();
  for (uint32_t i = 0; i < n; ++i) Address(json, mailboxes[i]);
  json.EndArray();
}

// {"X-Name":"value"}
inline void Headers(Writer& json, const char* name, const postbus_parts& parts) {
  if (parts.n_headers == 0) return;
  json.Key(name);
  json.StartObject();
  for (uint32_t i = 0; i < parts.n_headers; ++i) {
    Member(json, sdk::View(parts.headers[i].name), sdk::View(parts.headers[i].value));
  }
  json.EndObject();
}

// The event's metadata and its id, which the provider gives back in its reports. Never nothing.
inline void Metadata(Writer& json, const char* name, const postbus_mail& mail) {
  json.Key(name);
  json.StartObject();
  Member(json, "postbus_id", sdk::View(mail.event_id));
  for (uint32_t i = 0; i < mail.parts->n_metadata; ++i) {
    const postbus_header& one = mail.parts->metadata[i];
    if (sdk::View(one.name) != "postbus_id") Member(json, sdk::View(one.name), sdk::View(one.value));
  }
  json.EndObject();
}

// [{"content":base64,"type":"image/png","filename":"a.png","disposition":"inline","content_id":"logo"}]
inline void Attachments(Writer& json, const postbus_parts& parts) {
  if (parts.n_attachments == 0) return;
  json.Key("attachments");
  json.StartArray();
  for (uint32_t i = 0; i < parts.n_attachments; ++i) {
    const postbus_attachment& file = *parts.attachments[i];
    const std::string_view type = sdk::View(file.content_type);
    json.StartObject();
    Member(json, "content", sdk::View(file.base64));
    Member(json, "type", type.substr(0, type.find(';')));  // without parameters: SendGrid refuses a semicolon
    Member(json, "filename", sdk::View(file.filename));
    Member(json, "disposition", file.content_id.size == 0 ? "attachment" : "inline");
    if (file.content_id.size != 0) Member(json, "content_id", sdk::View(file.content_id));
    json.EndObject();
  }
  json.EndArray();
}

// A string member of an object; empty where there is none.
inline std::string_view Text(const rapidjson::Value& object, const char* name) {
  if (!object.IsObject()) return {};
  const auto found = object.FindMember(name);
  if (found == object.MemberEnd() || !found->value.IsString()) return {};
  return {found->value.GetString(), found->value.GetStringLength()};
}

// An array member; empty where there is none.
inline std::span<const rapidjson::Value> Items(const rapidjson::Value& object, const char* name) {
  if (!object.IsObject()) return {};
  const auto found = object.FindMember(name);
  if (found == object.MemberEnd() || !found->value.IsArray()) return {};
  return {found->value.Begin(), found->value.End()};
}

// An object or something that has no members: responses are not to be trusted.
inline rapidjson::Document Parse(const std::string& body) {
  rapidjson::Document document;
  document.Parse<rapidjson::kParseIterativeFlag>(body.data(), body.size());
  return document;
}

}  // namespace postbus::json_mail
