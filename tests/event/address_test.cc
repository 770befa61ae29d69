#include "event/address.h"

#include <gtest/gtest.h>

#include "tests/event/injections.h"

namespace postbus {
namespace {

TEST(MailboxTest, Accepts) {
  const std::string local64(64, 'a');
  const std::string label63(63, 'b');
  // 64 + @ + 63 . 63 . 61 = 254
  const std::string address254 = local64 + "@" + label63 + "." + label63 + "." + std::string(61, 'c');
  ASSERT_EQ(address254.size(), 254u);
  struct Case {
    std::string text, name, address;
  };
  const Case cases[] = {
      {"user@example.com", "", "user@example.com"},
      {"  user@example.com ", "", "user@example.com"},
      {"<user@example.com>", "", "user@example.com"},
      {"Usual Store <noreply@usualstore.com>", "Usual Store", "noreply@usualstore.com"},
      {"  Usual  Store<a@b>", "Usual  Store", "a@b"},
      {"\"Na, me\" <a@b>", "Na, me", "a@b"},
      {"\"a@b\" <a@b>", "a@b", "a@b"},
      {R"("say \"hi\" \\ <x>" <a@b>)", R"(say "hi" \ <x>)", "a@b"},
      {R"("\ä" <a@b>)", "ä", "a@b"},
      {"\"\"<a@b>", "", "a@b"},
      {"Jürgen Müller <jürgen@müller.example>", "Jürgen Müller", "jürgen@müller.example"},
      {"Shop (Support) [EU]: O'Neil & Co. <a@b>", "Shop (Support) [EU]: O'Neil & Co.", "a@b"},
      {"用户@例子.公司", "", "用户@例子.公司"},
      {"!#$%&'*+-/=?^_`{|}~@x", "", "!#$%&'*+-/=?^_`{|}~@x"},
      {"a.b.c@x-y.z9", "", "a.b.c@x-y.z9"},
      {"user%example.com@relay.example", "", "user%example.com@relay.example"},
      {"a@localhost", "", "a@localhost"},
      {"a@127.0.0.1", "", "a@127.0.0.1"},
      {address254, "", address254},
  };
  for (const Case& c : cases) {
    const Result<Mailbox> mailbox = ParseMailbox(c.text);
    ASSERT_TRUE(mailbox.ok()) << mailbox.status().message();
    EXPECT_EQ(mailbox->name, c.name) << c.text;
    EXPECT_EQ(mailbox->address, c.address) << c.text;
  }
}

TEST(MailboxTest, Refuses) {
  const std::string label63(63, 'b');
  const std::string cases[] = {
      "",
      " ",
      "no-at-sign",
      "@",
      "a@",
      "@b",
      "a@b@c",
      "a b@c",
      "a@b c",
      "a@b .c",
      "<a@b",
      "a@b>",
      "<a@b> x",
      "a<b>@c",
      "<<a@b>>",
      "< a@b>",
      "<a@b >",
      "<>",
      "Name <>",
      "Name a@b",
      "Na, me <a@b>",
      "a@b, c@d",
      "a@b,c@d",
      "a@b;c@d",
      "Na@me <a@b>",
      "Na\\me <a@b>",
      "\"Na\" me <a@b>",
      "\"Name <a@b>",
      "\"Name\\\" <a@b>",
      "\"Name\"",
      "\"Name\">",
      "\"\\>",
      "\"a\"@b",
      "\"a b\"@c",
      ".a@b",
      "a.@b",
      "a..b@c",
      "a@.b",
      "a@b.",
      "a@b..c",
      "a@-b",
      "a@b-",
      "a@b.-c.d",
      "a@b_c",
      "a@b!",
      "a@[127.0.0.1]",
      "a@[IPv6:::1]",
      "a(comment)@b",
      "a@b(comment)",
      "a:b@c",
      "a@b:25",
      "a\\@b",
      "Name <a@b> <c@d>",
      "Name <a@b><c@d>",
      "postmaster",
      std::string(65, 'a') + "@b",
      "a@" + label63 + "c",
      "a@" + label63 + ".b.",
      std::string(64, 'a') + "@" + label63 + "." + label63 + "." + std::string(62, 'c'),  // 255
      std::string(990, 'n') + " <a@b.de>",                                                // 999
      "a@b\xC3",
      "a\xC0\x8A@b",
      "a@b\xED\xA0\x80",
      "\xFF@b",
      "a%0d@b",
      "a%0D@b",
      "a%0A@b",
      "a%00@b",
      "x%0D%0a <a@b>",
      "a@b%0a",
      "a@b\t",
      "\ta@b",
      "N\tame <a@b>"};
  for (const std::string& text : cases) {
    const Result<Mailbox> mailbox = ParseMailbox(text);
    EXPECT_FALSE(mailbox.ok()) << text << " gave " << mailbox->address;
  }
}

TEST(MailboxTest, RefusesEveryInjectionEverywhere) {
  for (const std::string& injection : Injections()) {
    for (const std::string& text :
         {injection + "a@b.example", "a" + injection + "@b.example", "a@" + injection + "b.example",
          "a@b.example" + injection, "Na" + injection + "me <a@b.example>", "\"Na" + injection + "me\" <a@b.example>",
          "Name <a@b.example" + injection + ">", "Name <a@b.example>" + injection}) {
      EXPECT_FALSE(ParseMailbox(text).ok()) << ::testing::PrintToString(text);
    }
  }
}

TEST(MailboxTest, SaysWhatIsWrongAndQuotesLittle) {
  EXPECT_EQ(ParseMailbox("no-at-sign").status().message(), "\"no-at-sign\" is not an address (RFC 5322 addr-spec)");
  EXPECT_EQ(ParseMailbox("a@b@c").status().message(),
            "\"a@b@c\" is not an address (RFC 5322 addr-spec): it has more than one @");
  EXPECT_EQ(ParseMailbox("a@b").status().ok(), true);
  const Result<Mailbox> long_one = ParseMailbox(std::string(100000, 'x'));
  EXPECT_EQ(long_one.status().kind(), ErrorKind::kInvalid);
  EXPECT_LT(long_one.status().message().size(), 200u);
  const Result<Mailbox> broken = ParseMailbox("a@b\r\nRCPT TO:<c@d>");
  EXPECT_EQ(broken.status().message(),
            "\"a@b??RCPT TO:<c@d>\" is not an address (RFC 5322 addr-spec): has a line break in it");
}

TEST(MailboxTest, DomainIsBehindTheAt) { EXPECT_EQ(ParseMailbox("N <a@b.example>")->domain(), "b.example"); }

TEST(MailboxTest, ReplacesWhatTheObjectHeld) {
  Mailbox mailbox{"Old", "old@example.com"};
  ASSERT_TRUE(ParseMailbox("new@example.com", mailbox).ok());
  EXPECT_EQ(mailbox, (Mailbox{"", "new@example.com"}));
}

TEST(HeaderTextTest, Accepts) {
  for (const std::string_view text :
       {"", "Hello", "tab\there", "Grüße 🎉 \u00a0", "100% 0d 0a", "%0d %0a", "%0a%0d", "\xEF\xBF\xBD"}) {
    EXPECT_EQ(HeaderTextProblem(text), nullptr) << text;
  }
}

TEST(HeaderTextTest, RefusesEveryInjection) {
  for (const std::string& injection : Injections()) {
    EXPECT_NE(HeaderTextProblem("a" + injection + "b"), nullptr) << ::testing::PrintToString(injection);
    EXPECT_NE(HeaderTextProblem(injection), nullptr) << ::testing::PrintToString(injection);
  }
  for (int c = 0; c < 0x20; ++c) {
    EXPECT_EQ(HeaderTextProblem(std::string(1, static_cast<char>(c))) == nullptr, c == '\t') << c;
  }
  for (int c = 0x80; c < 0xA0; ++c) {
    EXPECT_NE(HeaderTextProblem(std::string("\xC2") + static_cast<char>(c)), nullptr) << c;
  }
}

}  // namespace
}  // namespace postbus
