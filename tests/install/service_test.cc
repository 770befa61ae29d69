// How a service tests that it sends the right mail: no Kafka, no mail server.
#include <postbus/recording_producer.h>

#include <iostream>

// The service's code knows only the interface.
static bool SendWelcome(postbus::Sender& sender, std::string_view address) {
  return sender.SendEmail("", address, "", "welcome", {{"Name", "Ada"}}, postbus::kPriorityLow, {}).ok();
}

int main() {
  postbus::RecordingProducer recorder;
  const bool sent = SendWelcome(recorder, "ada@example.com");
  const bool refused = !SendWelcome(recorder, "no-at-sign");
  const auto mails = recorder.sent();
  const bool right = sent && refused && mails.size() == 1 && mails[0].priority == "low" &&
                     mails[0].json.find("\"template\":\"welcome\"") != std::string::npos;
  std::cout << (right ? "right\n" : "wrong\n");
  return right ? 0 : 1;
}
