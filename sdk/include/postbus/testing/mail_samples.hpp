// postbus/testing/mail_samples.hpp - mails to try a transport with: an ordinary one and such as a host may hand over on
// a bad day. All keep to the ABI: `raw` is canonical, addresses are RFC 5321's, texts are UTF-8. `postbus plugins
// check` submits them, too.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "postbus/testing/fake_host.hpp"

namespace postbus::sdk::testing {

struct MailSample {
  std::string name;
  FakeMail mail;
};

// `raw` of a mail with this subject (ASCII) and body (CRLF).
inline std::string RawMail(const FakeMail& mail, std::string_view subject, std::string_view body) {
  return "From: " + mail.sender + "\r\nTo: undisclosed-recipients:;\r\nSubject: " + std::string(subject) +
         "\r\nMessage-ID: <" + mail.event_id + "@example.com>\r\n\r\n" + std::string(body);
}

// Tokens are `first_token` and up; event ids begin with `event`.
inline std::vector<MailSample> MailSamples(uint64_t first_token = 1) {
  std::vector<MailSample> samples;
  const auto add = [&](std::string name) -> FakeMail& {
    FakeMail mail(first_token + samples.size());
    mail.raw = RawMail(mail, "Hello", "Hello\r\n");
    return samples.emplace_back(MailSample{std::move(name), std::move(mail)}).mail;
  };
  const auto set_text = [](FakeMail& mail, std::string text) {
    mail.raw = RawMail(mail, "Hello", text);
    mail.text = std::move(text);
  };
  const std::string specials = "quote \" backslash \\ brace {} %s%n ${x} <b>&amp;</b> ' \t tab";

  add("ordinary");
  FakeMail& all = add("every field");
  all.cc = {"cc@example.org"};
  all.bcc = {"bcc@example.org"};
  all.reply_to = {"reply@example.org"};
  all.html = "<p>Hello</p>";
  all.headers = {{"X-Order", "4711"}};
  all.metadata = {{"customer", "4711"}};
  all.tags = {"welcome"};
  all.attachments = {{.filename = "a.txt", .content_type = "text/plain", .content_id = "", .base64 = "aGVsbG8="}};

  add("fifty recipients").recipients.clear();
  for (int i = 0; i < 50; ++i) {
    samples.back().mail.recipients.push_back("user" + std::to_string(i) + "@example.org");
  }
  FakeMail& bcc_alone = add("bcc alone");
  bcc_alone.recipients.clear();
  bcc_alone.bcc = {"bcc@example.org"};
  add("quoted local part").recipients = {R"("a b\"c"@example.org)"};
  add("longest address").recipients = {std::string(64, 'a') + "@" + std::string(63, 'b') + ".example.org"};
  FakeMail& utf8 = add("address in UTF-8");
  utf8.flags = POSTBUS_MAIL_SMTPUTF8 | POSTBUS_MAIL_8BIT;
  utf8.recipients = {
      "j\xc3\xb6rg@b\xc3\xbc"
      "cher.example"};

  FakeMail& nothing = add("no subject, no text");
  nothing.subject.clear();
  nothing.text.clear();
  nothing.raw = RawMail(nothing, "", "");
  add("subject of 900 bytes").subject = std::string(900, 's');
  FakeMail& special = add("special characters");
  special.subject = specials;
  set_text(special, specials + "\r\n");
  special.html = specials;
  special.headers = {{"X-Special", specials}};
  special.metadata = {{specials, specials}};
  special.tags = {specials};
  FakeMail& control = add("control characters");
  control.text = std::string("nul \0 bell \a escape \x1b delete \x7f\n", 31);
  control.subject = "U+2028 \xe2\x80\xa8, U+FFFF \xef\xbf\xbf, four bytes \xf0\x9f\x93\xac";
  set_text(add("dots at the start of lines"), ".\r\n..\r\n.\r\n\r\n.QUIT\r\n");
  set_text(add("line of 998 bytes"), std::string(998, 'x') + "\r\n");
  set_text(add("last line without an end"), "no line break");
  FakeMail& eight_bit = add("8-bit body");
  eight_bit.flags = POSTBUS_MAIL_8BIT;
  set_text(eight_bit, "gr\xc3\xbc\xc3\x9f dich\r\n");
  std::string large;
  while (large.size() < (900U << 10)) large += "A line of a large mail, and there are many of its kind.\r\n";
  set_text(add("900 KiB"), std::move(large));
  FakeMail& files = add("strange files");
  files.attachments = {
      {.filename = "../../etc/pass\"wd\\", .content_type = "text/plain; charset=utf-8", .content_id = "", .base64 = ""},
      {.filename = "b\xc3\xbc"
                   "cher.pdf",
       .content_type = "application/pdf",
       .content_id = "",
       .base64 = "AA=="},
      {.filename = "", .content_type = "image/png", .content_id = "logo", .base64 = std::string(400'000, 'A')}};
  return samples;
}

}  // namespace postbus::sdk::testing
