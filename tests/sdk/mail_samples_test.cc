#include "postbus/testing/mail_samples.hpp"

#include <gtest/gtest.h>

#include <set>

namespace postbus::sdk::testing {
namespace {

TEST(MailSamplesTest, KeepToTheAbi) {
  std::set<std::string> names;
  std::set<uint64_t> tokens;
  for (MailSample& sample : MailSamples(100)) {
    SCOPED_TRACE(sample.name);
    const postbus_mail& mail = sample.mail.view();
    EXPECT_TRUE(names.insert(sample.name).second);
    EXPECT_TRUE(tokens.insert(mail.token).second);
    EXPECT_GE(mail.token, 100u);
    EXPECT_EQ(mail.n_recipients, mail.parts->n_to + mail.parts->n_cc + mail.parts->n_bcc);
    EXPECT_GE(mail.n_recipients, 1u);
    size_t line = 0;
    const std::string_view raw = View(mail.raw);
    bool has_8bit = false;
    for (size_t i = 0; i < raw.size(); ++i) {
      has_8bit = has_8bit || static_cast<unsigned char>(raw[i]) > 0x7f;
      if (raw[i] == '\n') {
        EXPECT_EQ(raw[i - 1], '\r') << "a bare LF at " << i;
        line = 0;
      } else if (raw[i] != '\r') {
        EXPECT_LE(++line, 998u) << i;
      }
    }
    EXPECT_FALSE(has_8bit && (mail.flags & POSTBUS_MAIL_8BIT) == 0);
  }
  EXPECT_GE(names.size(), 15u);
}

TEST(MailSamplesTest, EveryFieldIsThere) {
  std::vector<MailSample> samples = MailSamples();
  const postbus_parts& parts = *samples[1].mail.view().parts;
  EXPECT_EQ(samples[1].name, "every field");
  EXPECT_EQ(View(parts.cc[0].address), "cc@example.org");
  EXPECT_EQ(View(parts.bcc[0].address), "bcc@example.org");
  EXPECT_EQ(View(parts.reply_to[0].address), "reply@example.org");
  EXPECT_EQ(View(parts.headers[0].name), "X-Order");
  EXPECT_EQ(View(parts.metadata[0].value), "4711");
  EXPECT_EQ(View(parts.tags[0]), "welcome");
  EXPECT_EQ(View(parts.attachments[0]->base64), "aGVsbG8=");
}

}  // namespace
}  // namespace postbus::sdk::testing
