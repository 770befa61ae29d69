// The same through Kafka, or without it: password_reset_either_way CONFIG.yaml ADDRESS LINK
// KAFKA_ENABLED=true goes to Kafka, KAFKA_ENABLED=false sends directly, unset does as CONFIG.yaml says.
#include <postbus/direct.h>

#include <iostream>

int main(int argc, char** argv) {
  if (argc != 4) {
    std::cerr << "usage: " << argv[0] << " CONFIG.yaml ADDRESS LINK\n";
    return 64;
  }
  auto sender = postbus::OpenSender(argv[1]);
  if (!sender.ok()) {
    std::cerr << sender.status().message() << '\n';
    return 78;
  }
  const auto taken = (*sender)->SendEmail("noreply@usualstore.com", argv[2], "Password Reset Request", "password-reset",
                                          {{"Link", argv[3]}}, postbus::kPriorityHigh, [](const postbus::Status& kept) {
                                            if (!kept.ok()) std::cerr << kept.message() << '\n';
                                          });
  if (!taken.ok()) {  // nothing was taken: wrong, or QUEUE_FULL
    std::cerr << taken.status().message() << '\n';
    return 64;
  }
  std::cout << *taken << '\n';
  return (*sender)->Flush(std::chrono::seconds(60)) ? 0 : 69;
}
