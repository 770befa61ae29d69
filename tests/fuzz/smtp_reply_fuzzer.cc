// Any bytes as an SMTP server's replies, cut anywhere: parser and session must neither crash nor call a mail sent that
// was not, nor end a mail twice or never. The first byte is how the rest is cut.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "plugins/smtp/session.h"
#include "plugins/smtp/verdict.h"

namespace {

using namespace postbus::smtp;

void Require(bool condition) {
  if (!condition) std::abort();
}

bool IsPlain(std::string_view text) {
  return std::none_of(text.begin(), text.end(),
                      [](char c) { return c == '@' || static_cast<unsigned char>(c) < 0x20; });
}

class Listener : public SessionListener {
 public:
  void OnFinished(MailTask&, const postbus_result& result) override {
    ++ended;
    accepted += result.outcome == POSTBUS_ACCEPTED;
    Require(result.outcome >= POSTBUS_ACCEPTED && result.outcome <= POSTBUS_IN_DOUBT);
    Require(IsPlain({result.text.data, result.text.size}) && result.text.size <= 512);
    Require(IsPlain({result.provider_id.data, result.provider_id.size}));
    for (uint32_t i = 0; i < result.n_recipients; ++i) {
      Require(result.recipients[i]->recipient < 2);
      Require(IsPlain({result.recipients[i]->text.data, result.recipients[i]->text.size}));
    }
  }
  void OnReturned(MailTask& task) override {
    ++ended;
    Require(task.retried);
  }

  int ended = 0;
  int accepted = 0;
};

postbus_str Str(std::string_view text) { return {text.data(), text.size()}; }

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const size_t step = 1 + data[0] % 64;
  const bool pipelining = (data[0] & 64) != 0;
  std::string_view input(reinterpret_cast<const char*>(data) + 1, size - 1);

  const postbus_str recipients[] = {Str("a@x"), Str("b@x")};
  postbus_mail mail{};
  mail.size = sizeof mail;
  mail.sender = Str("s@x");
  mail.recipients = recipients;
  mail.n_recipients = 2;
  mail.raw = Str(".\r\na\r\n");

  Listener listener;
  const SessionOptions options{.helo_name = "me", .pipelining = pipelining};
  Session session(options, listener);
  session.Open(/*loopback=*/true);
  MailTask tasks[8];
  int taken = 0;
  int dots = 0;  // mails whose final dot was handed to the kernel
  while (!input.empty() && session.state() != Session::State::kFailed) {
    // A piece of its own, so that a view kept too long is seen.
    const std::string piece(input.substr(0, step));
    input.remove_prefix(piece.size());
    session.Receive(piece);
    if (session.wants_permit() != nullptr) {
      session.Permit(true);
      ++dots;
    }
    while (taken < 8 && (session.CanTake() || session.CanTakeAhead())) {
      tasks[taken].mail = &mail;
      session.Take(tasks[taken++]);
    }
    for (auto output = session.Output(); !output.empty(); output = session.Output()) {
      for (size_t left = output.size(); left > 0; --left) session.Written(session.Output().front().size());
    }
  }
  Require(listener.accepted <= dots);
  session.Lost("the end");
  Require(listener.ended == taken);
  return 0;
}
