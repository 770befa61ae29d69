// Any bytes into the event decoder, both forms and both strictnesses. What it accepts must survive what postbus does
// with it: a patched copy and an accepted event decode again to the same mail.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "event/email_event.h"

namespace {

using postbus::ByteRange;
using postbus::EmailEvent;
using postbus::EventDecoder;
using postbus::Strictness;

void Require(bool condition) {
  if (!condition) std::abort();
}

std::string_view At(std::string_view json, ByteRange range) {
  Require(range.offset <= json.size() && range.size <= json.size() - range.offset);
  return json.substr(range.offset, range.size);
}

void RequireSameMail(std::string_view json_a, const EmailEvent& a, std::string_view json_b, const EmailEvent& b) {
  Require(a.type == b.type && a.to == b.to && a.subject == b.subject && a.template_name == b.template_name);
  Require(a.cc == b.cc && a.bcc == b.bcc && a.reply_to == b.reply_to && a.html == b.html && a.text == b.text);
  Require(a.headers == b.headers && a.tags == b.tags && a.metadata == b.metadata);
  Require(a.attachments.size() == b.attachments.size());
  for (size_t i = 0; i < a.attachments.size(); ++i) {
    Require(At(json_a, a.attachments[i].content) == At(json_b, b.attachments[i].content));
  }
  Require(a.priority == b.priority && a.max_retries == b.max_retries);
  Require(At(json_a, a.data) == At(json_b, b.data));
}

void RequireWellFormed(std::string_view json, const EmailEvent& event) {
  Require(!event.to.empty() && event.recipient_count() <= postbus::EventLimits::kMaxRecipients);
  Require(event.id.empty() || postbus::IsValidId(event.id));
  Require(event.template_name.empty() != (event.html.empty() && event.text.empty()));
  Require(!event.template_name.empty() || !event.subject.empty());
  Require(postbus::HeaderTextProblem(event.subject) == nullptr && postbus::HeaderTextProblem(event.type) == nullptr);
  for (const postbus::NamedText& header : event.headers) {
    Require(!header.name.empty() && !header.value.empty());
    Require(postbus::HeaderTextProblem(header.name) == nullptr && postbus::HeaderTextProblem(header.value) == nullptr);
  }
  std::string scratch;
  for (const postbus::Attachment& file : event.attachments) {
    Require(!file.filename.empty() && !file.content_type.empty());
    Require(postbus::HeaderTextProblem(file.filename) == nullptr);
    const std::string_view content = postbus::AttachmentBase64(json, file, scratch);
    At(json, file.content);
    Require(!content.empty() && content.size() % 4 == 0);
    Require(content.find_first_not_of("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=") ==
            std::string_view::npos);
  }
  for (size_t i = 0; i < event.recipient_count(); ++i) {
    const postbus::Mailbox& mailbox = event.recipient(i);
    Require(std::count(mailbox.address.begin(), mailbox.address.end(), '@') == 1);
    Require(mailbox.address.find_first_of(" <>\t\r\n\"") == std::string::npos);
    Require(postbus::HeaderTextProblem(mailbox.name) == nullptr);
  }
  Require(At(json, event.message).starts_with('{') && At(json, event.message).ends_with('}'));
  const std::string_view data = At(json, event.data);
  Require(data.empty() || (data.starts_with('{') && data.ends_with('}')));
}

void Check(std::string_view json, bool bare, Strictness strictness) {
  static EventDecoder decoder;
  static EmailEvent event;
  const bool accepted = bare ? decoder.DecodeMessage(json, strictness, event) : decoder.Decode(json, strictness, event);
  Require(accepted == decoder.violations().empty() && decoder.violations().size() <= 20);
  for (const postbus::Violation& violation : decoder.violations()) {
    Require(!violation.detail.empty() && violation.detail.size() < 400 && violation.pointer.size() < 200);
  }
  if (!accepted) return;
  RequireWellFormed(json, event);

  static EventDecoder second_decoder(postbus::EventLimits{.max_bytes = 2 << 20});
  static EmailEvent second;
  static std::string copy;
  copy.clear();
  postbus::PatchCopy(json, event, 7, "failed", copy);
  Require(bare ? second_decoder.DecodeMessage(copy, strictness, second)
               : second_decoder.Decode(copy, strictness, second));
  RequireSameMail(json, event, copy, second);
  Require(event.id == second.id && event.from == second.from && event.timestamp_unix_ms == second.timestamp_unix_ms);

  copy.clear();
  postbus::EncodeAccepted(json, event, {"new-id", 1766692800123, "Default <default@example.com>"}, copy);
  Require(second_decoder.Decode(copy, strictness, second));
  RequireSameMail(json, event, copy, second);
  Require(second.id == "new-id" && second.timestamp_unix_ms == 1766692800123);
  Require(second.from.address == (event.from.address.empty() ? "default@example.com" : event.from.address));
  Require(At(copy, second.retry_count) == "0" && At(copy, second.status) == "\"pending\"");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  for (const bool bare : {false, true}) {
    for (const Strictness strictness : {Strictness::kQueue, Strictness::kApi}) Check(input, bare, strictness);
  }
  (void)EventDecoder::LooksLikeMessage(input);
  (void)postbus::ParseRfc3339(input);
  if (const auto mailbox = postbus::ParseMailbox(input); mailbox.ok()) {
    Require(mailbox->address.size() <= 254 && postbus::HeaderTextProblem(mailbox->address) == nullptr);
  }
  std::string quoted = R"({"message":{"to":"a@b","template":"t","data":{"x":)";
  postbus::AppendJsonString(input, quoted);
  quoted += "}}}";
  static EventDecoder decoder;
  static EmailEvent event;
  // Whatever the bytes, a JSON string comes out; only U+0000 in it is refused, by the event's rules.
  Require(decoder.Decode(quoted, Strictness::kQueue, event) == (input.find('\0') == std::string_view::npos) ||
          quoted.size() > postbus::EventLimits{}.max_bytes);
  return 0;
}
