/* A sound plugin of a later minor: all that it allocates is longer than this host knows, and uses bits that mean
 * nothing here. What is beyond is not even there: a host that looks at it reads somebody else's memory. */
#define ABI_MINOR (POSTBUS_ABI_MINOR + 7)
#define ENTRY_SIZE (sizeof(postbus_entry) + 32)
#define RESERVED 42
#define OPTION_SIZE (sizeof(postbus_option) + 16)
#define OPTION_FLAGS (1u << 31)
#define TRANSPORT_SIZE (sizeof(postbus_transport) + 24)
#define CAPS (1u << 31)
#define SUBMIT_BODY                                                                                        \
  for (uint32_t i = 0; i < n; ++i) {                                                                       \
    uint8_t verdict = POSTBUS_ABORT;                                                                       \
    if (IsInTime(self, mails[i])) self->host->permit_send(self->host->ctx, &mails[i]->token, &verdict, 1); \
    postbus_recipient_result refused = {.size = sizeof refused + 8,                                        \
                                        .outcome = POSTBUS_REJECTED_RECIPIENT,                             \
                                        .enhanced = {5, 7, 509},                                           \
                                        .text = POSTBUS_STR("no such mailbox")};                           \
    const postbus_recipient_result* const all[] = {&refused};                                              \
    postbus_result result = {.size = sizeof result + 40,                                                   \
                             .n_recipients = verdict == POSTBUS_GO ? 1 : 0,                                \
                             .outcome = verdict == POSTBUS_GO ? POSTBUS_ACCEPTED : POSTBUS_NOT_SENT,       \
                             .phase = POSTBUS_PHASE_FINAL_DOT,                                             \
                             .provider_id = POSTBUS_STR("7"),                                              \
                             .recipients = all};                                                           \
    self->host->complete(self->host->ctx, mails[i]->token, &result);                                       \
  }                                                                                                        \
  if (n > 0) return n;
#include "bad_plugins/sound_plugin.h"
