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

// Nothing where there are none.
inline void Addresses(Writer& json, const char* name, std::span<const postbus_mailbox> mailboxes) {
  if (mailboxes.empty()) return;
  json.Key(name);
  json.StartArray();
  for (const postbus_mailbox& mailbox : mailboxes) Address(json, mailbox);
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
