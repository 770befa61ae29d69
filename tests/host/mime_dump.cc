// Composes the mails that mime_oracle_test.py sends on stdin and writes them to stdout. Both ways netstrings
// (`3:abc,`). A mail: sender's name and address; to, cc and reply_to, each the number of mailboxes, then their names
// and addresses; the number of headers, their names and values; the number of files, name, type, Content-ID and base64
// of each; subject, text, html, Message-ID, date in ms. The answer: `ok` or `refused`, then the mail or the reason.
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <iterator>
#include <string>
#include <string_view>
#include <vector>

#include "host/mime_composer.h"

namespace {

std::string_view Next(std::string_view& input) {
  const size_t colon = input.find(':');
  const size_t size = std::stoul(std::string(input.substr(0, colon)));
  const std::string_view value = input.substr(colon + 1, size);
  input.remove_prefix(colon + 1 + size + 1);
  return value;
}

void Write(std::string_view value) { std::cout << value.size() << ':' << value << ','; }

postbus::Mailbox NextMailbox(std::string_view& input) {
  postbus::Mailbox mailbox;
  mailbox.name = Next(input);
  mailbox.address = Next(input);
  return mailbox;
}

size_t NextCount(std::string_view& input) { return std::stoul(std::string(Next(input))); }

std::vector<postbus::Mailbox> NextMailboxes(std::string_view& input) {
  std::vector<postbus::Mailbox> mailboxes(NextCount(input));
  for (postbus::Mailbox& mailbox : mailboxes) mailbox = NextMailbox(input);
  return mailboxes;
}

}  // namespace

int main() {
  const std::string bytes{std::istreambuf_iterator<char>(std::cin), std::istreambuf_iterator<char>()};
  std::string_view input = bytes;
  postbus::MimeComposer composer;
  std::string mail;
  while (!input.empty()) {
    const postbus::Mailbox from = NextMailbox(input);
    const std::vector<postbus::Mailbox> to = NextMailboxes(input);
    const std::vector<postbus::Mailbox> cc = NextMailboxes(input);
    const std::vector<postbus::Mailbox> reply_to = NextMailboxes(input);
    std::vector<postbus::NamedText> headers(NextCount(input));
    for (postbus::NamedText& header : headers) {
      header.name = Next(input);
      header.value = Next(input);
    }
    std::vector<postbus::MailFile> files(NextCount(input));
    for (postbus::MailFile& file : files) {
      file.filename = Next(input);
      file.content_type = Next(input);
      file.content_id = Next(input);
      file.base64 = Next(input);
    }
    postbus::MailContent content;
    content.from = &from;
    content.to = to;
    content.cc = cc;
    content.reply_to = reply_to;
    content.headers = headers;
    content.files = files;
    content.subject = Next(input);
    content.text = Next(input);
    content.html = Next(input);
    content.message_id = Next(input);
    content.date_unix_ms = std::stoll(std::string(Next(input)));
    const postbus::Status status = composer.Compose(content, mail);
    Write(status.ok() ? "ok" : "refused");
    Write(status.ok() ? std::string_view(mail) : status.message());
  }
  return 0;
}
