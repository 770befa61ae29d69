// Reads mails (netstrings, `3:abc,`) from stdin with GMime and writes what it found, for mime_oracle_test.py:
// netstrings of key and value, and `end` with an empty value behind each mail.
#include <gmime/gmime.h>

#include <iostream>
#include <iterator>
#include <string>
#include <string_view>

namespace {

void WriteOne(std::string_view value) { std::cout << value.size() << ':' << value << ','; }
void Write(std::string_view key, std::string_view value) {
  WriteOne(key);
  WriteOne(value);
}
std::string_view OrEmpty(const char* text) { return text == nullptr ? std::string_view() : std::string_view(text); }

void WriteMailboxes(std::string_view key, InternetAddressList* list) {
  for (int i = 0; i < internet_address_list_length(list); ++i) {
    InternetAddress* address = internet_address_list_get_address(list, i);
    Write(key, OrEmpty(internet_address_get_name(address)));
    Write(key, OrEmpty(internet_address_mailbox_get_addr(INTERNET_ADDRESS_MAILBOX(address))));
  }
}

void WriteHeaders(GMimeObject* object) {
  GMimeHeaderList* headers = g_mime_object_get_header_list(object);
  for (int i = 0; i < g_mime_header_list_get_count(headers); ++i) {
    GMimeHeader* header = g_mime_header_list_get_header_at(headers, i);
    if (std::string_view(g_mime_header_get_name(header)).substr(0, 2) != "X-") continue;
    Write(g_mime_header_get_name(header), OrEmpty(g_mime_header_get_value(header)));
  }
}

void WritePart(GMimeObject* object) {
  GMimeContentType* type = g_mime_object_get_content_type(object);
  char* name = g_mime_content_type_get_mime_type(type);
  Write("type", name);
  g_free(name);
  if (GMIME_IS_MULTIPART(object)) {
    auto* multipart = GMIME_MULTIPART(object);
    for (int i = 0; i < g_mime_multipart_get_count(multipart); ++i) WritePart(g_mime_multipart_get_part(multipart, i));
    Write("up", "");
    return;
  }
  auto* part = GMIME_PART(object);
  Write("filename", OrEmpty(g_mime_part_get_filename(part)));
  Write("content_id", OrEmpty(g_mime_part_get_content_id(part)));
  Write("encoding", g_mime_content_encoding_to_string(g_mime_part_get_content_encoding(part)));
  GMimeStream* stream = g_mime_stream_mem_new();
  g_mime_data_wrapper_write_to_stream(g_mime_part_get_content(part), stream);
  const GByteArray* bytes = g_mime_stream_mem_get_byte_array(GMIME_STREAM_MEM(stream));
  Write("content", {reinterpret_cast<const char*>(bytes->data), bytes->len});
  g_object_unref(stream);
}

void Read(std::string_view mail) {
  GMimeStream* stream = g_mime_stream_mem_new_with_buffer(mail.data(), mail.size());
  GMimeParser* parser = g_mime_parser_new_with_stream(stream);
  GMimeMessage* message = g_mime_parser_construct_message(parser, nullptr);
  Write("subject", OrEmpty(g_mime_message_get_subject(message)));
  Write("message_id", OrEmpty(g_mime_message_get_message_id(message)));
  Write("date", std::to_string(g_date_time_to_unix(g_mime_message_get_date(message))));
  WriteMailboxes("from", g_mime_message_get_from(message));
  WriteMailboxes("to", g_mime_message_get_to(message));
  WriteMailboxes("cc", g_mime_message_get_cc(message));
  WriteMailboxes("reply_to", g_mime_message_get_reply_to(message));
  WriteHeaders(GMIME_OBJECT(message));
  WritePart(g_mime_message_get_mime_part(message));
  Write("end", "");
  g_object_unref(message);
  g_object_unref(parser);
  g_object_unref(stream);
}

}  // namespace

int main() {
  g_mime_init();
  const std::string bytes{std::istreambuf_iterator<char>(std::cin), std::istreambuf_iterator<char>()};
  std::string_view input = bytes;
  while (!input.empty()) {
    const size_t colon = input.find(':');
    const size_t size = std::stoul(std::string(input.substr(0, colon)));
    Read(input.substr(colon + 1, size));
    input.remove_prefix(colon + 1 + size + 1);
  }
  return 0;
}
