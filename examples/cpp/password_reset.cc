// Puts a mail into Kafka and waits until Kafka has it: password_reset ADDRESS LINK
// KAFKA_BROKERS and KAFKA_TOPIC say where to.
#include <postbus/producer.h>

#include <iostream>

int main(int argc, char** argv) {
  if (argc != 3) {
    std::cerr << "usage: " << argv[0] << " ADDRESS LINK\n";
    return 64;
  }
  const auto producer = postbus::Producer::FromEnv();
  if (!producer.ok()) {
    std::cerr << producer.status().message() << '\n';
    return 69;
  }
  // One Producer a process; each request only calls this, which does not block.
  auto sent = (*producer)->SendEmail("noreply@usualstore.com", argv[1], "Password Reset Request", "password-reset",
                                     {{"Link", argv[2]}}, postbus::kPriorityHigh);
  const auto id = sent.get();  // a service answers its caller here instead, or gives SendEmail a callback
  if (!id.ok()) {
    std::cerr << id.status().message() << '\n';
    return id.status().kind() == postbus::ErrorKind::kInvalid ? 64 : 69;
  }
  std::cout << *id << '\n';
}
