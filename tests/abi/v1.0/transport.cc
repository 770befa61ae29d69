// A transport of ABI 1.0 in C++ without the wrapper: takes mails in pieces, has an option of each type, and refuses the
// recipients it is told to. What it "sent" and its options it writes into a file.
#include <cstring>
#include <fstream>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "postbus/abi.h"

struct postbus_instance {
  const postbus_host* host;
  std::string refuse;
  std::mutex mutex;  // guards the file
  std::ofstream file;
};

namespace {

std::string_view View(postbus_str text) { return {text.data, text.size}; }

constexpr postbus_option Option(uint32_t type, uint32_t flags, postbus_str name, postbus_str default_value,
                                postbus_str choices = POSTBUS_STR("")) {
  return {.size = sizeof(postbus_option),
          .type = type,
          .flags = flags,
          .reserved = 0,
          .name = name,
          .default_value = default_value,
          .choices = choices,
          .unit = POSTBUS_STR(""),
          .minimum = 0,
          .maximum = 0,
          .description = POSTBUS_STR("An option.")};
}

constexpr postbus_option kOptions[] = {
    Option(POSTBUS_OPTION_PATH, POSTBUS_OPTION_REQUIRED, POSTBUS_STR("file"), POSTBUS_STR("")),
    Option(POSTBUS_OPTION_STRING, POSTBUS_OPTION_SECRET, POSTBUS_STR("token"), POSTBUS_STR("none")),
    Option(POSTBUS_OPTION_INTEGER, 0, POSTBUS_STR("number"), POSTBUS_STR("7")),
    Option(POSTBUS_OPTION_BOOLEAN, 0, POSTBUS_STR("flag"), POSTBUS_STR("true")),
    Option(POSTBUS_OPTION_DURATION, 0, POSTBUS_STR("timeout"), POSTBUS_STR("30s")),
    Option(POSTBUS_OPTION_SIZE, 0, POSTBUS_STR("room"), POSTBUS_STR("2KiB")),
    Option(POSTBUS_OPTION_ENUM, 0, POSTBUS_STR("refuse"), POSTBUS_STR("none"), POSTBUS_STR("none|some")),
    Option(POSTBUS_OPTION_LIST, 0, POSTBUS_STR("names"), POSTBUS_STR("")),
};
constexpr const postbus_option* kPointers[] = {&kOptions[0], &kOptions[1], &kOptions[2], &kOptions[3],
                                               &kOptions[4], &kOptions[5], &kOptions[6], &kOptions[7]};

int32_t Create(const postbus_host* host, const postbus_options* options, postbus_instance** out,
               const postbus_sink* error) {
  const auto& value = [&](size_t i) -> const postbus_value& { return *options->values[i]; };
  auto* const self = new postbus_instance{host, std::string(View(value(6).string)), {}, {}};
  self->file.open(std::string(View(value(0).string)), std::ios::app);
  self->file << "options:";
  for (size_t i = 2; i < 6; ++i) self->file << ' ' << value(i).integer;
  for (uint32_t i = 0; i < value(7).n_items; ++i) self->file << ' ' << View(value(7).items[i]);
  self->file << (value(1).is_default != 0 ? " default" : " given") << std::endl;
  if (!self->file) {
    constexpr std::string_view kSentence = "file: it cannot be written";
    error->write(error->ctx, kSentence.data(), kSentence.size());
    delete self;
    return POSTBUS_ERROR;
  }
  *out = self;
  return POSTBUS_OK;
}

int32_t Probe(postbus_instance*, int64_t, const postbus_sink*) { return POSTBUS_OK; }

void Send(postbus_instance& self, const postbus_mail& mail) {
  std::vector<postbus_recipient_result> refused;
  for (uint32_t i = 0; i < mail.n_recipients && self.refuse == "some"; ++i) {
    if (!View(mail.recipients[i]).starts_with("refused")) continue;
    refused.push_back({.size = sizeof(postbus_recipient_result),
                       .recipient = i,
                       .outcome = POSTBUS_REJECTED_RECIPIENT,
                       .phase = POSTBUS_PHASE_RCPT,
                       .code = 550,
                       .enhanced = {5, 7, 509},
                       .text = POSTBUS_STR("no such mailbox")});
  }
  std::vector<const postbus_recipient_result*> pointers;
  for (const postbus_recipient_result& one : refused) pointers.push_back(&one);
  {
    const postbus_parts& parts = *mail.parts;
    const std::lock_guard lock(self.mutex);
    self.file << View(mail.event_id) << ' ' << View(parts.from.address) << ' ' << parts.n_to << ' ' << parts.n_cc << ' '
              << parts.n_bcc << ' ' << parts.n_reply_to << ' ' << parts.n_headers << ' ' << parts.n_attachments << ' '
              << parts.n_tags << ' ' << parts.n_metadata << ' ' << View(parts.subject) << std::endl;
    if (parts.n_attachments != 0) self.file << "file: " << View(parts.attachments[0]->base64) << std::endl;
  }
  const postbus_result result = {.size = sizeof(postbus_result),
                                 .n_recipients = static_cast<uint32_t>(pointers.size()),
                                 .outcome = POSTBUS_ACCEPTED,
                                 .phase = POSTBUS_PHASE_REQUEST,
                                 .code = 202,
                                 .enhanced = {2, 1, 5},
                                 .retry_after_ms = 0,
                                 .text = POSTBUS_STR("taken"),
                                 .provider_id = mail.event_id,
                                 .recipients = pointers.data()};
  self.host->complete(self.host->ctx, mail.token, &result);
}

uint32_t Submit(postbus_instance* self, const postbus_mail* const* mails, uint32_t n) {
  std::vector<uint64_t> tokens;
  for (uint32_t i = 0; i < n; ++i) tokens.push_back(mails[i]->token);
  std::vector<uint8_t> verdicts(n, POSTBUS_ABORT);
  self->host->permit_send(self->host->ctx, tokens.data(), verdicts.data(), n);
  for (uint32_t i = 0; i < n; ++i) {
    if (verdicts[i] == POSTBUS_GO && self->host->now_ms(self->host->ctx) < mails[i]->deadline_ms) {
      Send(*self, *mails[i]);
      continue;
    }
    postbus_result result{};
    result.size = sizeof result;
    result.outcome = POSTBUS_NOT_SENT;
    self->host->complete(self->host->ctx, mails[i]->token, &result);
  }
  return n;
}

void Cancel(postbus_instance*, const uint64_t*, uint32_t) {}
void Quiesce(postbus_instance*, int64_t) {}
uint32_t Outstanding(postbus_instance*) { return 0; }
void Destroy(postbus_instance* self) { delete self; }

constexpr postbus_transport kTransport = {.size = sizeof(postbus_transport),
                                          .caps = POSTBUS_TRANSPORT_WANTS_PARTS | POSTBUS_TRANSPORT_TEST_ONLY,
                                          .create = &Create,
                                          .probe = &Probe,
                                          .submit = &Submit,
                                          .cancel = &Cancel,
                                          .quiesce = &Quiesce,
                                          .outstanding = &Outstanding,
                                          .destroy = &Destroy};

const void* Get(postbus_str id) { return View(id) == POSTBUS_TRANSPORT_ID ? &kTransport : nullptr; }

}  // namespace

const postbus_entry postbus_plugin_entry = {.magic = POSTBUS_ABI_MAGIC,
                                            .size = sizeof(postbus_entry),
                                            .abi_major = POSTBUS_ABI_MAJOR,
                                            .abi_minor = POSTBUS_ABI_MINOR,
                                            .kind = POSTBUS_KIND_TRANSPORT,
                                            .id = POSTBUS_STR("kept-cc"),
                                            .version = POSTBUS_STR("1.0.0"),
                                            .summary = POSTBUS_STR("Writes down which mails it was given."),
                                            .options = kPointers,
                                            .n_options = 8,
                                            .reserved = 0,
                                            .get = &Get};
